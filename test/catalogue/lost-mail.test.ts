/** Catalogue: mail that other systems lost. Each title names the thread that the fault comes from. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Box } from './box.ts'

const PROVIDERS = ['google', 'microsoft'] as const
const BUSY = { google: 'gmail.messages.get', microsoft: 'graph.messages.delta' } as const

for (const provider of PROVIDERS)
  test(`twenty #24332: ${provider}: an account is not live before every mail of every folder is stored`, async () => {
    await using box = await Box.open(provider, { n: 120, latencyMs: () => 50, pageSizeGraph: 10 })
    const { must } = box.sim.truth('ada', provider)
    await box.until('live', () => {
      const { state } = box.status()
      assert.ok(state !== 'live' || box.mail().rows.length >= must.length, 'live, and mail is missing')
      return state === 'live'
    })
    box.assertWhole()
    assert.deepEqual([...new Set(box.seen.map(({ state }) => state))], ['connecting', 'backfilling', 'live'])
  })

for (const provider of PROVIDERS)
  test(`n8n #4272: ${provider}: mails of one second are as many events`, async () => {
    await using box = await Box.open(provider, { n: 5 })
    await box.untilLive()
    const receivedMs = box.net.clock.wallMs()
    const ids = Array.from({ length: 14 }, () => box.deliver({ receivedMs }))
    await box.poll()
    box.assertWhole()
    assert.deepEqual(new Set(box.mail().rows.slice(-14)), new Set(ids))
  })

for (const [provider, route] of [
  ['google', 'gmail.history.list'],
  ['microsoft', 'graph.messages.delta'],
] as const)
  test(`n8n #33327: ${provider}: polls that bring nothing for hours are told, and what they missed comes after`, async () => {
    await using box = await Box.open(provider, { n: 5, folders: [] })
    await box.untilLive()
    box.fault({ type: 'hang' }, { route })
    const id = box.deliver()
    await box.until('told', () => box.status().state === 'retrying', 90_000)
    const { last_synced_at } = box.status()
    await box.advance(3 * 3_600_000)
    assert.deepEqual([box.status().state, box.status().last_error?.code], ['retrying', 'PROVIDER_DOWN'])
    if (provider === 'google') assert.equal(box.status().last_synced_at, last_synced_at)
    box.sim.faults.clear()
    await box.untilLive(600_000)
    box.assertWhole()
    assert.equal(box.mail().rows.at(-1), id)
  })

for (const provider of PROVIDERS)
  test(`trycompai/crm #33: ${provider}: a limit, a 401 and a timeout in the middle of a batch leave no mail behind`, async () => {
    await using box = await Box.open(provider, { n: 100, pageSizeGraph: 10 })
    const route = BUSY[provider]
    box.fault({ type: '429', retryAfter: 30 }, { route, nth: 4 })
    box.fault({ type: '401untilRefresh' }, { route, nth: 7 })
    box.fault({ type: 'hang' }, { route, nth: 9 })
    await box.untilLive()
    box.assertWhole()
    assert.deepEqual(
      box.sim.log().flatMap(({ fault }) => fault ?? []),
      ['429', '401untilRefresh', 'hang'],
    )
  })

test('twenty #24826: backfill and polls have positions of their own: mail that comes during the walk is not passed', async () => {
  for (const provider of PROVIDERS) {
    await using box = await Box.open(provider, { n: 150, latencyMs: () => 100, pageSizeGraph: 10 })
    for (let mails = 0; mails < 6; mails++) {
      await box.advance(1_000)
      box.deliver()
    }
    await box.untilLive()
    await box.poll()
    box.assertWhole()
  }
})

test('alga-psa #1322: all pages of a history walk begin at the same place, and what comes between two of them is not passed', async () => {
  let pages = 0
  await using box = await Box.open('google', {
    n: 3,
    onAnswer: (route) => {
      if (route === 'gmail.history.list' && ++pages === 2) id = box.deliver()
    },
  })
  let id = ''
  await box.untilLive()
  await box.advance(30_000)
  pages = 0
  const mail = box.mail().rows[0] ?? ''
  const from = box.sim.log().length
  for (let changes = 0; changes < 1_100; changes++) {
    box.change({ type: 'label', id: mail, add: ['STARRED'] })
    box.change({ type: 'label', id: mail, remove: ['STARRED'] })
  }
  await box.poll()
  await box.poll()
  const walk = box.sim
    .log()
    .slice(from)
    .filter(({ route }) => route === 'gmail.history.list')
  const starts = walk.slice(0, 3).map(({ url }) => new URLSearchParams(url.split('?')[1]).get('startHistoryId'))
  assert.equal(new Set(starts).size, 1)
  assert.equal(box.mail().rows.at(-1), id)
  box.assertWhole()
})

test('alga-psa #1322: mail that a filter archives at once is an event too', async () => {
  await using box = await Box.open('google', { n: 3 })
  await box.untilLive()
  const id = box.deliver({ labels: ['Label_1'] })
  await box.poll()
  box.assertWhole()
  assert.equal(box.mail().rows.at(-1), id)
})

for (const provider of PROVIDERS)
  test(`task-manager #1325: ${provider}: a worker that is killed again and again in the middle of its pages loses no mail`, async () => {
    await using box = await Box.open(provider, { n: 90, latencyMs: () => 60, pageSizeGraph: 6 })
    for (let kills = 0; kills < 8; kills++) {
      await box.advance(provider === 'google' ? 731 : 211)
      await box.kill()
      box.start()
    }
    await box.untilLive()
    box.assertWhole()
  })

test('microsoft-graph-docs #2153: a page that names neither a next page nor an end is no end', async () => {
  await using box = await Box.open('microsoft', { n: 60, pageSizeGraph: 5 })
  box.fault({ type: 'dropField', field: '@odata.nextLink' }, { route: 'graph.messages.delta', every: 3 }, 3)
  await box.untilLive()
  assert.ok(box.seen.some(({ code }) => code === 'PROVIDER_DOWN'))
  box.assertWhole()
})

test('microsoft-graph-docs #2232: no round is capped: a folder comes whole, however many pages it has', async () => {
  await using box = await Box.open('microsoft', {
    n: 250,
    mix: { sent: 0, archived: 0 },
    folders: [],
    pageSizeGraph: 20,
  })
  await box.untilLive()
  box.assertWhole()
  assert.deepEqual(
    box.requests('graph.messages.delta').filter(({ url }) => /[?&]\$(?:top|filter)=/.test(url)),
    [],
  )
})

test('lieer #24: a history page without records that names a next page is followed', async () => {
  await using box = await Box.open('google', { n: 3 })
  await box.untilLive()
  box.fault({ type: 'historyLess' }, { route: 'gmail.history.list' }, 2)
  const id = box.deliver()
  await box.poll()
  assert.equal(box.mail().rows.at(-1), id)
  box.assertWhole()
})

test('gogcli #379: history that does not know yet what just came brings it at a later poll', async () => {
  await using box = await Box.open('google', { n: 3 })
  await box.untilLive()
  box.fault({ type: 'lateHistory', ms: 45_000 }, { route: 'gmail.history.list' })
  const ids = [box.deliver()]
  await box.advance(20_000)
  ids.push(box.deliver())
  for (let polls = 0; polls < 3; polls++) await box.poll()
  assert.deepEqual(box.mail().rows.slice(-2), ids)
  box.assertWhole()
})

test('gmailpush #10: mail that cannot be got yet right after it was announced is there within a minute', async () => {
  await using box = await Box.open('google', { n: 3 })
  await box.untilLive()
  box.fault({ type: 'transient404', ms: 4_000 }, { route: 'gmail.messages.get' })
  await box.until('just before a poll', () => box.net.clock.wallMs() % 30_000 === 14_000)
  const id = box.deliver()
  await box.until('it is there', () => box.mail().rows.at(-1) === id, 60_000)
  assert.deepEqual(
    box
      .requests('gmail.messages.get')
      .slice(-2)
      .map(({ status }) => status),
    [404, 200],
  )
  box.assertWhole()
})

test('python-samples #200: mail that comes between the first position and the first list is in neither gap', async () => {
  for (const route of ['gmail.profile', 'gmail.messages.list', 'gmail.history.list']) {
    let asked = 0
    await using box = await Box.open('google', {
      n: 10,
      onAnswer: (answered) => {
        if (answered === route && ++asked === 1) box.deliver()
      },
    })
    await box.untilLive()
    await box.poll()
    await box.poll()
    box.assertWhole()
  }
})
