/** The HTTP bridge as a process: `node services/http/main.ts`. */
import { run } from '#shared/lifecycle.ts'
import { createLog } from '#shared/log.ts'
import { runBridge } from './app.ts'
import { readHttpConfig } from './config.ts'

const log = createLog('http', 'info')
await run(log, (signal) => {
  const config = readHttpConfig()
  log.level = config.logLevel
  return runBridge(config, log, signal)
})
