/** The live question: one request through the worker's own limiter and token, with a deadline, and nothing moves. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { askProvider } from '../../../services/mail/inspect/ask.ts'
import { type Call, ProviderError } from '../../../services/mail/provider/provider.ts'
import { MailboxLimiter, TokenBucket } from '../../../services/mail/sync/limiter.ts'
import { WorkerBox } from '../sync/worker-box.ts'

const NEVER = new AbortController().signal
const refused = (kind: 'auth' | 'throttled' | 'rejected', more = {}) =>
  new ProviderError(kind, { operation: 'gmail.messages.get', ...more })

test('a token that is refused is refreshed once; one that is still refused is told, and no account is marked', async () => {
  await using box = new WorkerBox()
  const { worker } = box.start()
  const tokens: string[] = []
  box.provider.looks = async ({ accessToken }) => {
    tokens.push(accessToken.reveal())
    if (tokens.length === 1) throw refused('auth', { status: 401 })
    return { is: 'noEvent', filter: 'SPAM' }
  }
  assert.deepEqual(await askProvider(worker, 'm1', NEVER), { is: 'noEvent', filter: 'SPAM' })
  assert.deepEqual(tokens, ['token-1', 'token-2'])
  box.provider.looks = async () => {
    throw refused('auth', { status: 401, code: 'authError' })
  }
  const answer = await askProvider(worker, 'm1', NEVER)
  assert.deepEqual(answer, { is: 'unanswered', code: 'AUTH_EXPIRED', status: 401, providerCode: 'authError' })
  assert.deepEqual([box.marked, worker.state.ended, worker.state.fault], [[], null, null])
})

test('it has its turn at the limiter of the worker, before backfill, and a refusal holds for the worker too', async () => {
  await using box = new WorkerBox()
  const limiter = new MailboxLimiter([new TokenBucket(1_000, 1, box.clock)], { start: 1, max: 1 }, box.clock)
  const { worker } = box.start({ limiter })
  const priorities: string[] = []
  box.provider.looks = async ({ priority }: Call) => {
    priorities.push(priority)
    throw refused('throttled', { status: 429, retryAfterMs: 60_000 })
  }
  const answer = await askProvider(worker, 'm1', NEVER)
  assert.deepEqual([answer.is, 'code' in answer && answer.code, priorities], ['unanswered', 'THROTTLED', ['connect']])
  assert.equal(limiter.pausedMs, 60_000)
})

test('after its deadline it is given up, in an announced pause as that', async () => {
  await using box = new WorkerBox()
  const { worker } = box.start()
  const late = new AbortController()
  box.provider.looks = ({ signal }) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      late.abort(new DOMException('late', 'TimeoutError'))
    })
  const answer = await askProvider(worker, 'm1', late.signal)
  assert.deepEqual(answer, { is: 'unanswered', code: 'PROVIDER_DOWN', status: null, providerCode: null })
  worker.state.throttledUntilMs = box.clock.wallMs() + 1
  const paused = await askProvider(worker, 'm1', AbortSignal.abort(new DOMException('late', 'TimeoutError')))
  assert.deepEqual(paused, { is: 'unanswered', code: 'THROTTLED', status: null, providerCode: null })
})
