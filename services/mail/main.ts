/** The mail service as a process: `node services/mail/main.ts`. */
import { run } from '#shared/lifecycle.ts'
import { createLog } from '#shared/log.ts'
import { appFromEnvironment } from './app.ts'

const log = createLog('mail-sync', 'info')
await run(log, appFromEnvironment(log))
