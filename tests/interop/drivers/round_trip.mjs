// What an MQTT.js client publishes comes back. Runs in Node and in a page.

const MESSAGES = [
  ['doors/text', 0, new TextEncoder().encode('hello')],
  ['doors/bytes', 1, Uint8Array.from({ length: 256 }, (_, index) => index)],
  ['doors/empty', 1, new Uint8Array()],
  ['doors/large', 2, Uint8Array.from({ length: 200_000 }, (_, index) => index % 251)],
]

// Topic, QoS, length and sum of the bytes of each message that came back.
export async function roundTrip(mqtt, url, version, options) {
  const protocolVersion = { '3.1.1': 4, '5.0': 5 }[version]
  const client = await mqtt.connectAsync(url, { ...options, protocolVersion, clientId: 'doors', reconnectPeriod: 0 }, false)
  await client.subscribeAsync('doors/#', { qos: 2 })
  const cameBack = []
  for (const [topic, qos, payload] of MESSAGES) {
    const arrived = new Promise((resolve) => {
      client.once('message', (topic, payload, packet) => {
        resolve([topic, packet.qos, payload.length, payload.reduce((sum, byte) => sum + byte, 0)])
      })
    })
    // In a page, MQTT.js wants its own kind of buffer.
    await client.publishAsync(topic, globalThis.Buffer ? Buffer.from(payload) : mqtt.Buffer?.from(payload) ?? payload, { qos })
    cameBack.push(await arrived)
  }
  await client.endAsync()
  return cameBack
}
