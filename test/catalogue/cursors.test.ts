/** Catalogue: positions that the provider forgets. Other systems stood still, went round in circles, or left a gap. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Fault } from '../simulator/types.ts'
import { Box } from './box.ts'

const HOUR_MS = 3_600_000
const FORGOTTEN = ['resyncRequired', 'SyncStateNotFound', 'syncStateInvalid'] as const
const expire = (code: (typeof FORGOTTEN)[number]): Fault => ({ type: 'expireDelta', code })

test('OpenArchiver #443: a forgotten history is compared anew at once, and polls go on', async () => {
  await using box = await Box.open('google', { n: 20, latencyMs: () => 100 })
  await box.untilLive()
  const { rows } = box.mail()
  box.fault({ type: 'expireHistory' }, { route: 'gmail.history.list' }, 1)
  await box.advance(30_000)
  await box.untilLive(60_000)
  const id = box.deliver()
  await box.poll()
  assert.deepEqual(box.mail().rows, [...rows, id])
  assert.ok(box.seen.some(({ code }) => code === 'CURSOR_EXPIRED'))
  box.assertWhole()
})

test('inbox-zero #1174: what came before the history was forgotten is found, not skipped', async () => {
  await using box = await Box.open('google', { n: 20 })
  await box.untilLive()
  const ids = [box.deliver(), box.deliver()]
  box.fault({ type: 'expireHistory' }, { route: 'gmail.history.list' }, 1)
  await box.poll()
  await box.poll()
  assert.deepEqual(new Set(box.mail().rows.slice(-2)), new Set(ids))
  box.assertWhole()
})

test('lieer #301: a history that is forgotten at every poll is not walked again and again', async () => {
  await using box = await Box.open('google', { n: 20 })
  await box.untilLive()
  box.fault({ type: 'expireHistory' }, { route: 'gmail.history.list' })
  const from = box.requests('gmail.messages.list').length
  await box.advance(2 * HOUR_MS)
  assert.ok(box.requests('gmail.messages.list').length - from <= 2 * 7, 'a walk in ten minutes at most')
  assert.deepEqual([box.status().state, box.status().last_error?.code], ['retrying', 'CURSOR_EXPIRED'])
  box.sim.faults.clear()
  box.deliver()
  await box.untilLive(HOUR_MS)
  box.assertWhole()
})

for (const code of FORGOTTEN)
  test(`Wino-Mail #290: Outlook’s ${code} heals by itself, in the tree and in every folder`, async () => {
    await using box = await Box.open('microsoft', { n: 20 })
    await box.untilLive()
    const { rows } = box.mail()
    box.fault(expire(code), { route: 'graph.mailFolders.delta' }, 1)
    for (let folders = 0; folders < 5; folders++) box.fault(expire(code), { route: 'graph.messages.delta' }, 1)
    const id = box.deliver()
    await box.advance(35_000)
    await box.untilLive(60_000)
    assert.deepEqual(box.mail().rows, [...rows, id])
    assert.ok(box.sim.log().filter(({ fault }) => fault === 'expireDelta').length === 6)
    box.assertWhole()
  })

test('microsoft-graph-docs #2162: a state that is forgotten in the middle of a walk costs the walk, no mail', async () => {
  for (const code of FORGOTTEN) {
    await using box = await Box.open('microsoft', { n: 80, pageSizeGraph: 5, latencyMs: () => 100 })
    box.fault(expire(code), { route: 'graph.messages.delta', nth: 9 })
    await box.untilLive()
    assert.ok(box.seen.some((seen) => seen.code === 'CURSOR_EXPIRED'))
    box.assertWhole()
  }
})

test('microsoft-graph-docs #2350: a page that is asked for again and again because nobody could store it is asked for anew', async () => {
  await using box = await Box.open('microsoft', { n: 60, pageSizeGraph: 5 })
  // The answer is lost each time; the fourth time Graph does not know the link any more.
  box.fault({ type: 'reset', when: 'midBody' }, { route: 'graph.messages.delta', nth: 6 })
  for (const nth of [7, 8, 9, 10, 11, 12])
    box.fault({ type: 'reset', when: 'midBody' }, { route: 'graph.messages.delta', nth })
  await box.untilLive()
  assert.ok(box.requests('graph.messages.delta').some(({ status }) => status === 410))
  box.assertWhole()
})

test('microsoft-graph-docs #2877: where Graph says that a walk has to begin again it does', async () => {
  await using box = await Box.open('microsoft', { n: 40, pageSizeGraph: 5 })
  box.fault(expire('resyncRequired'), { route: 'graph.messages.delta', nth: 4 })
  await box.untilLive()
  const asked = box.requests('graph.messages.delta').map(({ url }) => url)
  const gone = box.requests('graph.messages.delta').find(({ status }) => status === 410)
  const location = gone?.url.split('?')[0] ?? 'none'
  assert.ok(asked.includes(location), 'the address of `Location` as it stands')
  box.assertWhole()
})

test('microsoft-graph-docs #4803: links that die within a week bring only what is new', async () => {
  await using box = await Box.open('microsoft', { n: 30 })
  await box.untilLive()
  const { rows } = box.mail()
  await box.kill()
  const ids = [box.deliver(), box.deliver({ folder: 'Projects' })]
  await box.advance(6 * 24 * HOUR_MS)
  box.fault(expire('SyncStateNotFound'), { route: 'graph.messages.delta' }, 5)
  box.start()
  await box.advance(10_000)
  await box.untilLive()
  assert.deepEqual(new Set(box.mail().rows), new Set([...rows, ...ids]))
  assert.equal(box.mail().rows.length, rows.length + 2)
  box.assertWhole()
})

test('Gmail API: a page token that is refused in the middle of the list starts the pass again', async () => {
  await using box = await Box.open('google', {
    n: 620,
    env: () => ({ MAIL_GMAIL_UNITS_PER_MIN: '600000' }),
    profile: 'fast',
  })
  box.fault({ type: 'badPageToken' }, { route: 'gmail.messages.list' }, 2)
  await box.untilLive()
  assert.equal(box.requests('gmail.messages.list').filter(({ fault }) => fault === 'badPageToken').length >= 2, true)
  box.assertWhole()
})

test('host clock: a wall clock that jumps by three days, and back, loses nothing and repeats nothing', async () => {
  for (const provider of ['google', 'microsoft'] as const) {
    await using box = await Box.open(provider, { n: 20 })
    await box.untilLive()
    for (const days of [3, -3]) {
      box.net.clock.jump(days * 24 * HOUR_MS)
      const id = box.deliver()
      await box.advance(60_000)
      await box.untilLive(120_000)
      assert.ok(box.mail().rows.includes(id), `${provider} ${days}`)
      box.assertWhole()
    }
  }
})
