// MQTT.js in Node by one door: `node mqttjs_doors.mjs FOLDER URL VERSION AUTHORITY`. FOLDER is where npm installed it.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

import { roundTrip } from './round_trip.mjs'

const [folder, url, version, authority] = process.argv.slice(2)
const mqtt = createRequire(`${folder}/`)('mqtt')
console.log(JSON.stringify(await roundTrip(mqtt, url, version, { ca: readFileSync(authority) })))
