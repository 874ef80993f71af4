/** The thread that answers requests, see `app/control-thread.ts`. What it needs is loaded while the other one opens what it stands on. */
import { parentPort } from 'node:worker_threads'
import { keepCompiled } from '../base/compile-cache.ts'

if (parentPort === null) throw new Error('this is a thread')
keepCompiled()
const { answerRequests } = await import('./answer-requests.ts')
await answerRequests(parentPort)
