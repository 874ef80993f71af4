/** Catalogue: limits that other systems answered by giving up, by asking on, or by asking for far too much. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Box } from './box.ts'

const PROVIDERS = ['google', 'microsoft'] as const
const POLL = { google: 'gmail.history.list', microsoft: 'graph.messages.delta' } as const
const DAY_MS = 86_400_000

/** Moments at which the mailbox was asked, from then on. */
const askedSince = (box: Box, sinceMs: number): number[] =>
  box.sim
    .log()
    .filter(({ t, mailbox }) => mailbox !== null && t >= sinceMs)
    .map(({ t }) => t)

for (const reason of ['userRateLimitExceeded', 'rateLimitExceeded'] as const)
  test(`lieer #162: Gmail’s 403 ${reason} pauses the mailbox until the time that it names, and all mail comes`, async () => {
    await using box = await Box.open('google', { n: 60 })
    await box.advance(1_000)
    const atMs = box.net.clock.wallMs()
    box.fault({ type: '403rate', retryAfter: 40, reason }, { route: 'gmail.messages.get' }, 1)
    await box.until('paused', () => box.status().state === 'throttled', 5_000)
    await box.untilLive()
    assert.ok(askedSince(box, atMs).every((t) => t < atMs + 5_000 || t >= atMs + 40_000))
    assert.ok(box.seen.some(({ code }) => code === 'THROTTLED'))
    box.assertWhole()
  })

test('twenty #11037: Outlook never has more requests of a mailbox in hand than it takes', async () => {
  await using box = await Box.open('microsoft', { n: 120, pageSizeGraph: 4, latencyMs: () => 200 })
  await box.untilLive()
  box.fault({ type: 'partialItems' }, { route: 'graph.messages.delta' })
  for (let mails = 0; mails < 12; mails++) box.deliver()
  await box.poll()
  const { peakInflight = 0 } = box.sim.ledger().mailboxes['microsoft:ada'] ?? {}
  assert.ok(peakInflight > 1 && peakInflight <= 4, `${peakInflight}`)
  box.assertWhole()
})

test('twenty #24034: a first sync spends no more than a mailbox has, and a restart spends it only once', async () => {
  await using box = await Box.open('google', { n: 500, latencyMs: () => 150 })
  await box.advance(60_000)
  const done = box.mail().rows.length
  await box.kill()
  box.start()
  await box.untilLive()
  const { peak = 0 } = box.sim.ledger().mailboxes['google:ada'] ?? {}
  assert.ok(peak > 3_000 && peak <= 6_000, `${peak}`)
  assert.ok(done > 100)
  // What was under way is asked for again.
  assert.ok(box.requests('gmail.messages.get').length <= 500 + 25)
  box.assertWhole()
})

test('microsoft-graph-docs #5730: a walk from the start is made once for each folder, however long the mailbox is polled', async () => {
  await using box = await Box.open('microsoft', { n: 30, intervalMs: 600_000 })
  await box.untilLive()
  const first = () => box.requests('graph.messages.delta').filter(({ url }) => !url.includes('token=')).length
  const walks = first()
  await box.advance(DAY_MS / 2)
  assert.ok(box.requests('graph.messages.delta').length > walks * 50)
  assert.equal(first(), walks)
})

for (const provider of PROVIDERS)
  test(`mail-archiver #394: ${provider}: an outage that names its end is waited for, not hammered`, async () => {
    await using box = await Box.open(provider, { n: 10 })
    await box.untilLive()
    const atMs = box.net.clock.wallMs()
    box.fault({ type: '503', retryAfter: 200 }, {}, 1)
    const id = box.deliver()
    await box.until('paused', () => box.status().state === 'throttled', 30_000)
    await box.untilLive(300_000)
    await box.poll()
    const asked = askedSince(box, atMs)
    const gapMs = Math.max(...asked.slice(1).map((t, at) => t - (asked[at] ?? 0)))
    assert.ok(gapMs >= 200_000 && gapMs < 260_000, `${gapMs}`)
    assert.ok(box.mail().rows.includes(id))
    box.assertWhole()
  })

for (const provider of PROVIDERS)
  test(`HTTP 429: ${provider}: a pause of two hours holds to its end, for the next owner too`, async () => {
    await using box = await Box.open(provider, { n: 10 })
    await box.untilLive()
    const atMs = box.net.clock.wallMs()
    box.fault({ type: '429', retryAfter: 7_200 }, { route: POLL[provider] }, 1)
    await box.until('paused', () => box.status().state === 'throttled', 31_000)
    await box.advance(600_000)
    await box.kill()
    box.start()
    await box.advance(600_000)
    assert.equal(box.status().state, 'throttled')
    box.deliver()
    await box.untilLive(7_200_000)
    await box.poll()
    assert.deepEqual(
      askedSince(box, atMs + 60_000).filter((t) => t < atMs + 7_200_000),
      [],
    )
    box.assertWhole()
  })

test('HTTP 429: a pause is measured by the clock of whoever names it', async () => {
  for (const provider of PROVIDERS) {
    let start = 0
    await using box = await Box.open(provider, { n: 10, graceMs: 5_000, now: () => start })
    const { clock } = box.net
    start = clock.wallMs()
    await box.untilLive()
    box.fault({ type: '429', retryAfter: 7 }, {}, 1)
    await box.until('paused', () => box.status().state === 'throttled', 31_000)
    assert.ok((await box.untilLive(60_000)) < 10_000)
  }
})

test('HTTP Date: a clock of the provider that is an hour off does nothing to an answer', async () => {
  for (const provider of PROVIDERS) {
    await using box = await Box.open(provider, { n: 10 })
    box.fault({ type: 'clockSkew', s: 3_600 })
    await box.untilLive()
    box.deliver()
    await box.poll()
    assert.ok(box.seen.every(({ code }) => code === null))
    box.assertWhole()
  }
})
