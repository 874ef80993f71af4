/** The limiter of one poll: only the project's quota and announced pauses count, and a refusal holds for whoever comes next. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ProviderError } from '../../../services/mail/provider/provider.ts'
import { MailboxLimiter, TokenBucket } from '../../../services/mail/sync/limiter.ts'
import { PollLimiter } from '../../../services/mail/sync/poll-limiter.ts'
import { ManualClock } from '../base/manual-clock.ts'

const NEVER = new AbortController().signal
const POLL = 2

function box({ projectUnits = 100, pausedMs = 0 } = {}) {
  const clock = new ManualClock()
  const project = new TokenBucket(100, 1, clock)
  project.take(100 - projectUnits)
  const mailbox = new TokenBucket(200, 0.1, clock)
  let made = 0
  const limiter = new PollLimiter(pausedMs, project, () => {
    made += 1
    return new MailboxLimiter([mailbox, project], { start: 2, max: 8 }, clock)
  })
  const poll = (): Promise<string> => limiter.run(POLL, 'incremental', NEVER, async () => 'an answer')
  const fail = (error: unknown): Promise<string> => limiter.run(POLL, 'incremental', NEVER, () => Promise.reject(error))
  return { clock, project, mailbox, limiter, poll, fail, made: () => made }
}

test('a poll takes its units from the project, and nothing else is made for it', async () => {
  const { project, limiter, poll, made } = box()
  assert.equal(await poll(), 'an answer')
  assert.deepEqual([project.within(0), limiter.pausedMs, made()], [98, 0, 0])
})

test('it waits for the units of the project', async () => {
  const { clock, poll } = box({ projectUnits: 0 })
  let answer = ''
  void poll().then((came) => {
    answer = came
  })
  await clock.advance(1)
  assert.equal(answer, '')
  await clock.advance(1)
  assert.equal(answer, 'an answer')
})

test('pauses of mailbox and project are told', () => {
  const { project, limiter } = box({ pausedMs: 5_000 })
  assert.equal(limiter.pausedMs, 5_000)
  project.pause(9_000)
  assert.equal(limiter.pausedMs, 9_000)
})

test('a refusal holds for the mailbox, or for the project; another fault for nobody', async () => {
  const throttled = (scope: 'mailbox' | 'project') =>
    new ProviderError('throttled', { operation: 'x', retryAfterMs: 3_000, scope })
  const cases = [
    [throttled('mailbox'), 3_000, 0],
    [throttled('project'), 3_000, 3_000],
    [new ProviderError('transient', { operation: 'x' }), 0, 0],
  ] as const
  for (const [error, mailboxMs, projectMs] of cases) {
    const { mailbox, project, fail } = box()
    await assert.rejects(fail(error), error)
    assert.deepEqual([mailbox.pausedMs, project.pausedMs], [mailboxMs, projectMs], error.message)
  }
})
