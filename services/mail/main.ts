/** The mail service as a process: `node services/mail/main.ts`. */
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'
import { run } from '#shared/lifecycle.ts'

// Kept where only those can write who may change the program; where this process may not, nothing is kept, and that is no
// error. NODE_COMPILE_CACHE names another folder.
enableCompileCache(join(import.meta.dirname, '../../node_modules/.cache/node'))
const { createLog } = await import('#shared/log.ts')
const log = createLog('mail-sync', 'info')
// Loaded when signals are heard: to the first process of a container the kernel delivers none that nobody listens to.
await run(log, async (signal) => (await import('./app.ts')).appFromEnvironment(log)(signal))
