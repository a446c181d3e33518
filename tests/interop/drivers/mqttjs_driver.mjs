// Driver for MQTT.js. `node mqttjs_driver.mjs FOLDER PORT`: FOLDER is where npm installed it.

import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

const [folder, port] = process.argv.slice(2)
const require = createRequire(`${folder}/`)
const mqtt = require('mqtt')
const { version: release } = require('mqtt/package.json')

const PROTOCOLS = { '3.1': { protocolId: 'MQIsdp', protocolVersion: 3 }, '3.1.1': { protocolVersion: 4 }, '5.0': { protocolVersion: 5 } }

// Our names and MQTT.js's, for what needs no conversion.
const PLAIN = {
  content_type: 'contentType',
  response_topic: 'responseTopic',
  message_expiry: 'messageExpiryInterval',
  topic_alias: 'topicAlias',
}

const clients = new Map()

const send = (entry) => process.stdout.write(`${JSON.stringify(entry)}\n`)

function propertiesFor(values) {
  const properties = {}
  for (const [name, value] of Object.entries(values)) {
    if (name === 'user') {
      properties.userProperties = Object.create(null)
      for (const [key, text] of value) (properties.userProperties[key] ??= []).push(text)
    } else if (name === 'correlation_data') properties.correlationData = Buffer.from(value, 'hex')
    else if (name === 'payload_format') properties.payloadFormatIndicator = value === 1
    else properties[PLAIN[name]] = value
  }
  return properties
}

function shownProperties(source = {}) {
  const shown = {}
  for (const [ours, theirs] of Object.entries(PLAIN)) if (theirs in source) shown[ours] = source[theirs]
  // MQTT.js has resolved the alias.
  delete shown.topic_alias
  if ('payloadFormatIndicator' in source) shown.payload_format = Number(source.payloadFormatIndicator)
  if ('correlationData' in source) shown.correlation_data = source.correlationData.toString('hex')
  if ('subscriptionIdentifier' in source) shown.subscription_ids = [source.subscriptionIdentifier].flat()
  if ('userProperties' in source) {
    shown.user = Object.entries(source.userProperties).flatMap(([key, texts]) => [texts].flat().map((text) => [key, text]))
  }
  return shown
}

function willFor({ topic, payload, qos, retain, delay = 0, properties = {} }, isV5) {
  const will = { topic, payload: Buffer.from(payload), qos, retain }
  return isV5 ? { ...will, properties: { willDelayInterval: delay, ...propertiesFor(properties) } } : will
}

async function connect({ client: name, version, client_id: clientId, clean, expiry = 0, will, topic_alias_maximum: topicAliasMaximum, receive_maximum: receiveMaximum }) {
  const isV5 = version === '5.0'
  const options = { ...PROTOCOLS[version], clientId, clean, reconnectPeriod: 0, resubscribe: false, connectTimeout: 10_000 }
  if (will) options.will = willFor(will, isV5)
  if (isV5) {
    options.properties = { sessionExpiryInterval: expiry }
    if (topicAliasMaximum) options.properties.topicAliasMaximum = topicAliasMaximum
    if (receiveMaximum) options.properties.receiveMaximum = receiveMaximum
  }
  const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, options)
  const entry = { client, isV5, leaves: false, acknowledged: 0 }
  clients.set(name, entry)
  client.on('message', (topic, payload, packet) => {
    const { qos, retain, dup } = packet
    send({ event: 'message', client: name, topic, payload: payload.toString(), qos, retain, dup, properties: shownProperties(packet.properties) })
  })
  // The callback of a publication hides the reason codes that are no refusal.
  client.on('packetreceive', ({ cmd, reasonCode }) => {
    if (cmd === 'puback') entry.acknowledged = reasonCode ?? 0
  })
  let reason = null
  client.on('disconnect', (packet) => { reason = packet.reasonCode })
  client.on('close', () => { if (!entry.leaves && client.connack) send({ event: 'closed', client: name, reason }) })
  const connack = await Promise.race([
    once(client, 'connect').then(([packet]) => packet),
    once(client, 'close').then(() => { throw new Error('closed before CONNACK') }),
  ])
  client.on('error', () => {})
  client.connack = connack
  const properties = {}
  if (connack.properties?.assignedClientIdentifier) properties.assigned_client_id = connack.properties.assignedClientIdentifier
  return { session_present: connack.sessionPresent, reason: connack.reasonCode ?? connack.returnCode, properties }
}

async function subscribe({ client: name, filter, qos, no_local: nl, retain_as_published: rap, retain_handling: rh, subscription_id: subscriptionIdentifier }) {
  const { client, isV5 } = clients.get(name)
  const options = isV5 ? { qos, nl: nl ?? false, rap: rap ?? false, rh: rh ?? 0 } : { qos }
  if (subscriptionIdentifier) options.properties = { subscriptionIdentifier }
  const granted = await client.subscribeAsync(filter, options)
  return { reasons: granted.map((entry) => entry.qos) }
}

async function unsubscribe({ client: name, filter }) {
  const { client, isV5 } = clients.get(name)
  const packet = await client.unsubscribeAsync(filter)
  return { reasons: isV5 ? packet.granted : [] }
}

function publish({ client: name, topic, payload, qos, retain, properties }) {
  const entry = clients.get(name)
  const options = { qos, retain }
  if (entry.isV5) options.properties = propertiesFor(properties)
  return new Promise((resolve, reject) => {
    entry.client.publish(topic, payload, options, (error) => {
      // A refusal comes as an error that carries the reason code.
      if (error && error.code === undefined) reject(error)
      else resolve({ reason: error ? error.code : entry.acknowledged })
    })
  })
}

async function disconnect({ client: name }) {
  const entry = clients.get(name)
  entry.leaves = true
  await entry.client.endAsync()
}

async function cut({ client: name }) {
  const entry = clients.get(name)
  entry.leaves = true
  if (entry.client.stream.destroyed) return
  const closed = once(entry.client.stream, 'close')
  entry.client.stream.destroy()
  await closed
}

const operations = { connect, subscribe, unsubscribe, publish, disconnect, cut }

send({ driver: `mqtt.js ${release}`, versions: Object.keys(PROTOCOLS) })
for await (const line of createInterface({ input: process.stdin })) {
  const { id, op, ...options } = JSON.parse(line)
  try {
    send({ id, ok: (await operations[op](options)) ?? {} })
  } catch (error) {
    send({ id, error: `${error.name}: ${error.message}` })
  }
}
process.exit(0)
