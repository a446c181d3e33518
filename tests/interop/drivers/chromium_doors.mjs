// MQTT.js in a page of headless Chromium: `node chromium_doors.mjs FOLDER CHROMIUM PROFILE PAGE URL VERSION`. Prints
// what came back of what it published, or why it could not.

import { createRequire } from 'node:module'

const [folder, executablePath, profile, page, url, version] = process.argv.slice(2)
const { chromium } = createRequire(`${folder}/`)('playwright-core')

const browser = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  // Its certificate was made for this test.
  ignoreHTTPSErrors: true,
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--ignore-certificate-errors',
  ],
})
try {
  const tab = await browser.newPage()
  await tab.goto(page)
  await tab.waitForFunction(() => globalThis.roundTrip !== undefined)
  const outcome = await tab.evaluate(
    ([url, version]) => globalThis.roundTrip(globalThis.mqtt, url, version, {}).catch((error) => `${error}`),
    [url, version],
  )
  console.log(JSON.stringify(outcome))
} finally {
  await browser.close()
}
