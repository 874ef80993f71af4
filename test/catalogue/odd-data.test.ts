/** Catalogue: answers and messages that are odd, broken or hostile. Others stopped at them, or believed them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Fault } from '../simulator/types.ts'
import { Box } from './box.ts'

const PROVIDERS = ['google', 'microsoft'] as const
const LIST = { google: 'gmail.messages.list', microsoft: 'graph.messages.delta' } as const
const POLL = { google: 'gmail.history.list', microsoft: 'graph.messages.delta' } as const
const GET = { google: 'gmail.messages.get', microsoft: 'graph.messages.get' } as const

/** More than Gmail's history brings at once: they go through the fetch queue. */
const MAILS = 30

/** A live mailbox in which the given answers to a single message are bad; all others come, and then they do. */
async function setsAside(provider: (typeof PROVIDERS)[number], bad: Fault, hurt: number): Promise<void> {
  await using box = await Box.open(provider, { n: 10 })
  await box.untilLive()
  const { rows } = box.mail()
  if (provider === 'microsoft') box.fault({ type: 'partialItems' }, { route: LIST.microsoft })
  for (let nth = 2; nth < 2 + hurt; nth++) box.fault(bad, { route: GET[provider], nth })
  for (let mails = 0; mails < MAILS; mails++) box.deliver()
  await box.until('all others are there', () => box.mail().rows.length === rows.length + MAILS - hurt, 40_000)
  const { state, set_aside, last_error } = box.status()
  assert.deepEqual([state, set_aside, last_error?.code], ['retrying', hurt, 'MESSAGE_SET_ASIDE'])
  await box.untilLive(120_000)
  box.assertWhole()
}

test('OpenArchiver #441: Gmail’s 400 for one message sets that one aside, the others come, and it comes when it is well', () =>
  setsAside('google', { type: '400precondition' }, 2))

for (const provider of PROVIDERS)
  test(`OpenArchiver #441: ${provider}: a message that cannot be read, refused or had cuts no mailbox short`, async () => {
    await setsAside(provider, { type: 'wrongType' }, 1)
    await setsAside(provider, { type: '500' }, 2)
    await setsAside(provider, { type: 'reset', when: 'midBody' }, 1)
  })

test('OpenArchiver #441: of a few new mails that Gmail names one is bad: the others come at once, and it comes when it is well', async () => {
  for (const bad of [{ type: '500' }, { type: 'wrongType' }, { type: '400precondition' }] as const) {
    await using box = await Box.open('google', { n: 10 })
    await box.untilLive()
    const { rows } = box.mail()
    const [first, , third] = [box.deliver(), box.deliver(), box.deliver()]
    // In the batch of three, and alone.
    for (const nth of [2, 4]) box.fault(bad, { route: GET.google, nth })
    await box.until('the others are there', () => box.mail().rows.length === rows.length + 2, 40_000)
    assert.deepEqual(box.mail().rows.slice(-2), [first, third])
    await box.untilLive(120_000)
    assert.equal(box.mail().rows.length, rows.length + 3)
    box.assertWhole()
  }
})

test('dxos #12466: mail that is gone between list and get wedges nothing: the account is live without it', async () => {
  await using box = await Box.open('google', { n: 30 })
  box.fault({ type: 'vanish', count: 3 }, { route: 'gmail.messages.list' }, 1)
  await box.untilLive(120_000)
  await box.advance(2 * 3_600_000)
  assert.deepEqual([box.status().state, box.status().set_aside], ['live', 0])
  const missed = box.requests('gmail.messages.get').filter(({ status }) => status === 404).length
  assert.ok(missed >= 3 && missed <= 3 * 4, `${missed}`)
  box.assertWhole()
})

test('emailengine cb6ca8a: a history record that nobody can read does not stop the mailbox: at the third time it is passed over', async () => {
  await using box = await Box.open('google', { n: 5 })
  await box.untilLive()
  // The first of these records is the one that breaks.
  box.change({ type: 'trash', id: box.mail().rows[0] ?? '' })
  box.change({ type: 'label', id: box.mail().rows[0] ?? '', add: ['INBOX'], remove: ['TRASH'] })
  const ids = [box.deliver(), box.deliver()]
  box.fault({ type: 'brokenItem' }, { route: 'gmail.history.list' }, 3)
  await box.poll()
  await box.poll()
  assert.ok(box.seen.some(({ code }) => code === 'PROVIDER_DOWN'))
  assert.deepEqual(box.mail().rows.slice(-2), ids)
  box.assertWhole()
})

test('twenty #24332: an item that only one answer has spoilt is not passed over: its mail comes', async () => {
  for (const provider of PROVIDERS) {
    await using box = await Box.open(provider, { n: 30, pageSizeGraph: 8 })
    box.fault({ type: 'brokenItem' }, { route: LIST[provider], nth: 1 })
    await box.untilLive()
    box.fault({ type: 'brokenItem' }, { route: POLL[provider] }, 2)
    const ids = [box.deliver(), box.deliver()]
    await box.poll()
    await box.poll()
    assert.deepEqual(new Set(box.mail().rows.slice(-2)), new Set(ids))
    box.assertWhole()
  }
})

test('twenty #25817: a batch of which nothing is an event does not hold up what follows', async () => {
  for (const kind of ['draft', 'chat'] as const) {
    await using box = await Box.open('google', {
      n: 60,
      mix: { ...{ sent: 0, draft: 0, spam: 0, trash: 0 }, [kind]: 1 },
    })
    await box.untilLive()
    const id = box.deliver()
    await box.poll()
    assert.deepEqual(box.mail().rows, [id])
    box.assertWhole()
  }
})

test('corsair #450: a history id that comes as a number, and may be rounded, moves no position', async () => {
  await using box = await Box.open('google', { n: 5 })
  await box.untilLive()
  box.fault({ type: 'numberIds' }, { route: 'gmail.history.list' })
  const ids = [box.deliver(), box.deliver()]
  await box.until('told', () => box.status().last_error?.code === 'PROVIDER_DOWN', 60_000)
  box.sim.faults.clear()
  await box.untilLive(600_000)
  await box.poll()
  assert.deepEqual(box.mail().rows.slice(-2), ids)
  box.assertWhole()
})

for (const [what, fault] of [
  ['HTML', { type: 'htmlOk' }],
  ['nothing', { type: 'emptyBody' }],
  ['JSON of other types', { type: 'wrongType' }],
  ['JSON that was cut and closed', { type: 'truncate', mode: 'clean' }],
  ['fewer bytes than were announced', { type: 'truncate', mode: 'content-length' }],
  ['a chunked body that breaks off', { type: 'truncate', mode: 'chunked' }],
  ['a gateway’s 502', { type: '502html' }],
  ['a body that unpacks to 48 MiB', { type: 'gzipBomb' }],
] as const satisfies [string, Fault][])
  test(`HTTP: an answer that is ${what} is never an empty mailbox and never the end of one`, async () => {
    for (const provider of PROVIDERS) {
      await using box = await Box.open(provider, { n: 30, pageSizeGraph: 8, latencyMs: () => 10 })
      box.fault(fault, { route: LIST[provider], nth: 1 })
      box.fault(fault, { route: LIST[provider], nth: 3 })
      box.fault(fault, { route: POLL[provider], nth: 2 })
      await box.untilLive()
      box.deliver()
      await box.poll()
      await box.poll()
      assert.ok(box.seen.some(({ code }) => code === 'PROVIDER_DOWN'))
      box.assertWhole()
    }
  })

for (const field of [
  'id',
  'messages',
  'resultSizeEstimate',
  'historyId',
  'nextPageToken',
  'payload',
  'value',
  '@odata.deltaLink',
  'parentFolderId',
  'isDraft',
])
  test(`HTTP: an answer without ${field} loses nothing`, async () => {
    for (const provider of PROVIDERS) {
      await using box = await Box.open(provider, { n: 30, pageSizeGraph: 8 })
      for (const nth of [1, 2, 4]) box.fault({ type: 'dropField', field }, { route: LIST[provider], nth })
      box.fault({ type: 'dropField', field }, { route: GET[provider], nth: 3 })
      await box.untilLive()
      box.sim.faults.clear()
      await box.poll()
      box.assertWhole()
    }
  })

test('OpenArchiver retry.ts: a socket that says nothing is given up after its deadline, and asked again', async () => {
  for (const provider of PROVIDERS) {
    await using box = await Box.open(provider, { n: 20, pageSizeGraph: 8 })
    box.fault({ type: 'hang' }, { route: LIST[provider], nth: 2 })
    box.fault({ type: 'hang' }, { route: LIST[provider], nth: 1 })
    await box.until('told', () => box.status().last_error?.code === 'PROVIDER_DOWN', 31_000)
    await box.untilLive()
    box.assertWhole()
  }
})

test('HTTP: a body that drips is given up after the same deadline, whatever has come of it', async () => {
  for (const provider of PROVIDERS) {
    await using box = await Box.open(provider, { n: 20, pageSizeGraph: 8 })
    box.fault({ type: 'slow', bytesPerSec: 20 }, { route: LIST[provider], nth: 1 })
    await box.untilLive()
    assert.ok(box.seen.some(({ code }) => code === 'PROVIDER_DOWN'))
    box.assertWhole()
  }
})

test('Graph API: changes of mail that was never seen whole are fetched one by one', async () => {
  await using box = await Box.open('microsoft', { n: 30, pageSizeGraph: 8 })
  box.fault({ type: 'partialItems' }, { route: LIST.microsoft })
  await box.untilLive()
  box.deliver()
  await box.poll()
  assert.equal(box.requests(GET.microsoft).length >= box.mail().rows.length, true)
  box.assertWhole()
})

test('RFC 5322: invitations, foreign letters, huge lists of recipients and missing dates are mail like any other', async () => {
  for (const provider of PROVIDERS) {
    const mix = { eventMessage: 0.3, nonAscii: 1, hugeTo: 0.1, missingDate: 0.3 }
    await using box = await Box.open(provider, { n: 40, mix })
    await box.untilLive()
    const { events } = box.mail()
    assert.ok(events.some(({ subject }) => /[^\x20-\x7e]/.test(subject)))
    box.assertWhole()
  }
})

test('nylas-mail #246: the newest mail comes first', async () => {
  for (const provider of PROVIDERS) {
    await using box = await Box.open(provider, { n: 60, folders: [], mix: { sent: 0, archived: 0 } })
    await box.untilLive()
    const dates = box.mail().events.map(({ msg_date }) => msg_date ?? 0)
    assert.deepEqual(
      dates,
      dates.toSorted((a, b) => b - a),
    )
  }
})

test('mail-archiver #382: a first sync that is killed goes on where it was', async () => {
  await using box = await Box.open('google', { n: 200, latencyMs: () => 80 })
  for (let kills = 0; kills < 3; kills++) {
    await box.advance(12_000)
    await box.kill()
    box.start()
  }
  await box.untilLive()
  assert.ok(box.requests('gmail.messages.get').length <= 200 + 3 * 25)
  assert.ok(box.requests('gmail.messages.list').length <= 4)
  box.assertWhole()
})
