/** The mail service as a process: `node services/mail/main.ts`. */
import { run } from '#shared/lifecycle.ts'
import { keepCompiled } from './base/compile-cache.ts'

keepCompiled()
const { createLog } = await import('#shared/log.ts')
const log = createLog('mail-sync', 'info')
// Loaded when signals are heard: to the first process of a container the kernel delivers none that nobody listens to.
await run(log, async (signal) => (await import('./app.ts')).appFromEnvironment(log)(signal))
