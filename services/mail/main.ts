/** The mail service, see main.js. */
import { run } from '#shared/lifecycle.ts'
import { createLog } from '#shared/log.ts'

const log = createLog('mail-sync', 'info')
// Loaded when signals are heard: to the first process of a container the kernel delivers none that nobody listens to.
await run(log, async (signal) => (await import('./app.ts')).appFromEnvironment(log)(signal))
