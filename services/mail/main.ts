/** The mail service, see main.js. */
import { startThread } from './base/thread.ts'

// It loads what requests need while this thread loads and opens the rest.
const thread = startThread(new URL('./control/thread.ts', import.meta.url))
const { run } = await import('#shared/lifecycle.ts')
const { createLog } = await import('#shared/log.ts')
const log = createLog('mail-sync', 'info')
// Loaded when signals are heard: to the first process of a container the kernel delivers none that nobody listens to.
await run(log, async (signal) => (await import('./app.ts')).appFromEnvironment(log, thread)(signal))
