/** The mail service as a process. */

import { ExitError, run } from '#shared/lifecycle.ts'
import { createLog } from '#shared/log.ts'
import { createApp } from './app.ts'
import { readConfig } from './base/config.ts'

try {
  const config = readConfig()
  const log = createLog('mail-sync', config.logLevel)
  await run(log, createApp({ config, log }))
} catch (error) {
  if (!(error instanceof ExitError)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = error.exitCode
}
