import { existsSync } from 'node:fs'
import { chromium } from 'playwright-core'

const EXECUTABLE = '/usr/bin/chromium'
export const hasChromium = existsSync(EXECUTABLE)

/** Starts a browser for which all names of `.example` are this machine. */
export const startChromium = () =>
  chromium.launch({
    executablePath: EXECUTABLE,
    args: [
      ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
      ...['--disable-component-update', '--disable-sync', '--ignore-certificate-errors'],
      '--host-resolver-rules=MAP *.example 127.0.0.1',
    ],
  })
