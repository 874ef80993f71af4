import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from './until.ts'

test('until returns the first answer that is a fact', async () => {
  const answers = [undefined, false, null, 0] as const
  let asked = 0
  assert.equal(await until('a number is there', () => answers[asked++], { everyMs: 1 }), 0)
})

test('until names the fact and what it saw last when the deadline passes', async () => {
  await assert.rejects(
    until('the moon is blue', () => false, { timeoutMs: 20, everyMs: 1 }),
    /not true within 20 ms: the moon is blue \(last answer: false\)/,
  )
})

test('until takes a fact that throws for not yet, and keeps its last error as the cause', async () => {
  let asked = 0
  const fact = (): string => {
    if (asked++ < 2) throw new Error('connection refused')
    return 'up'
  }
  assert.equal(await until('it is up', fact, { everyMs: 1 }), 'up')
  const refused = until('it is up', () => Promise.reject(new Error('connection refused')), { timeoutMs: 20 })
  await assert.rejects(refused, (error: Error) => (error.cause as Error).message === 'connection refused')
})

test('until does not outlive its deadline when the fact never answers', async () => {
  const never = new Promise<undefined>(() => undefined)
  await assert.rejects(
    until('an answer comes', () => never, { timeoutMs: 20 }),
    /an answer comes/,
  )
})

test('until answers nothing that came true after its signal was aborted', async () => {
  const stop = new AbortController()
  const fact = (): true => {
    stop.abort(new Error('enough'))
    return true
  }
  await assert.rejects(until('it is so', fact, { signal: stop.signal }), /enough/)
})

test('until ends at once when its signal is aborted', async () => {
  const stop = new AbortController()
  const waiting = until('never', () => false, { everyMs: 60_000, signal: stop.signal })
  setImmediate(() => stop.abort(new Error('enough')))
  await assert.rejects(waiting, /enough/)
  await assert.rejects(
    until('never', () => false, { signal: stop.signal }),
    /enough/,
  )
})
