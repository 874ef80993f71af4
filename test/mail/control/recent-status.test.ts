/** Whose status is looked up before it is asked for, how old it may be, and what is never shown. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { StatusReply } from '#shared/contract.ts'
import { createLog } from '#shared/log.ts'
import { RecentStatus } from '../../../services/mail/control/recent-status.ts'

const reply = (userId: string, look: number): StatusReply => ({
  user_id: userId,
  running_syncs: [`look ${look}`],
  accounts: [],
})
const lookOf = ({ running_syncs }: StatusReply): string => running_syncs[0] ?? ''

/** Time passes when it is told to. Each look is answered at once unless `hold` is set. */
function world(t: TestContext) {
  t.mock.timers.enable({ apis: ['setInterval'] })
  const state = { nowMs: 0, looks: 0, isOwn: true, fault: null as Error | null, hold: null as Promise<void> | null }
  const recent = new RecentStatus(
    async (userId) => {
      const look = ++state.looks
      if (state.hold !== null) await state.hold
      if (state.fault !== null) throw state.fault
      return { reply: reply(userId, look), isOwn: state.isOwn }
    },
    { monoMs: () => state.nowMs },
    createLog('test', 'silent'),
  )
  t.after(() => recent[Symbol.dispose]())
  const pass = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= 250) {
      state.nowMs += Math.min(250, left)
      t.mock.timers.tick(Math.min(250, left))
      await turn()
    }
  }
  return { state, recent, pass }
}

test('who was asked about twice is looked up four times a second, for as long as somebody asks', async (t) => {
  const { state, recent, pass } = world(t)
  await recent.ask('ada')
  await pass(2_000)
  assert.equal(state.looks, 1, 'asked about once: nobody looks again')
  assert.equal(lookOf(await recent.ask('ada')), 'look 2')
  await pass(2_000)
  assert.equal(state.looks, 10)
  assert.equal(lookOf(await recent.ask('ada')), 'look 10', 'as it was looked up last, and without another look')
  assert.equal(state.looks, 10)
  await pass(10_000)
  const { looks } = state
  await pass(10_000)
  assert.equal(state.looks, looks, 'nobody has asked for ten seconds')
  await recent.ask('ada')
  assert.equal(state.looks, looks + 1)
})

/** A user who is followed, and whose next look is not answered before `go`. */
async function heldLook(t: TestContext) {
  const { state, recent, pass } = world(t)
  await recent.ask('ada')
  await recent.ask('ada')
  const { promise, resolve: go } = Promise.withResolvers<void>()
  state.hold = promise
  return { state, recent, pass, go }
}

test('none is older than a second: then the look that is under way is waited for', async (t) => {
  const { state, recent, pass, go } = await heldLook(t)
  await pass(1_000)
  assert.equal(lookOf(await recent.ask('ada')), 'look 2')
  await pass(1)
  const asked = recent.ask('ada')
  go()
  assert.equal(lookOf(await asked), 'look 3')
  assert.equal(state.looks, 3, 'one look at a time')
})

/** @returns the status after a change, when a look from before it was under way */
async function afterChange(t: TestContext, tell: boolean): Promise<string> {
  const { state, recent, pass, go } = await heldLook(t)
  await pass(250)
  if (tell) recent.changed('ada')
  state.hold = null
  go()
  await turn()
  return lookOf(await recent.ask('ada'))
}

test('after a change nothing is shown that was looked up before it', async (t) => {
  assert.equal(await afterChange(t, true), 'look 4')
})

test('control: when nobody tells of the change, what was looked up before it is shown', async (t) => {
  assert.equal(await afterChange(t, false), 'look 3')
})

test('a user of another instance is looked up whenever somebody asks, and only then', async (t) => {
  const { state, recent, pass } = world(t)
  state.isOwn = false
  for (let i = 0; i < 3; i++) await recent.ask('ada')
  await pass(2_000)
  assert.equal(state.looks, 3)
})

test('who asks hears why a look has failed, and the next one looks again', async (t) => {
  const { state, recent, pass } = world(t)
  await recent.ask('ada')
  await recent.ask('ada')
  state.fault = new Error('no')
  await pass(500)
  await assert.rejects(recent.ask('ada'), /no/)
  state.fault = null
  assert.equal(lookOf(await recent.ask('ada')), `look ${state.looks}`)
})

test('of many users those who were asked about last are followed', async (t) => {
  const { state, recent, pass } = world(t)
  const users = Array.from({ length: 300 }, (_, i) => `user${i}`)
  for (const user of [...users, ...users.slice(-200)]) await recent.ask(user)
  const before = state.looks
  await pass(250)
  assert.equal(state.looks - before, 200)
})
