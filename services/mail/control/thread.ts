/** The thread that answers requests, see `app/control-thread.ts`. What it needs is loaded while the other one opens what it stands on. */
import { parentPort } from 'node:worker_threads'
import { answerRequests } from './answer-requests.ts'

if (parentPort === null) throw new Error('this is a thread')
await answerRequests(parentPort)
