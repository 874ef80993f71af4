/** A whole mailbox while every request meets each kind of fault at five percent; played by tests of two sizes. */
import assert from 'node:assert/strict'
import type { AccountAudit } from '#shared/audit.ts'
import { audit } from '../../services/mail/inspect/audit.ts'
import type { Fault, ProviderName, Rule } from '../simulator/types.ts'
import { Box } from './box.ts'

const SHARE = 0.05
const FIELDS = ['id', 'messages', 'nextPageToken', 'value', '@odata.nextLink', 'payload', 'isDraft', 'parentFolderId']

const EVERY: readonly Fault[] = [
  { type: '429', retryAfter: 7 },
  { type: '403scope' },
  { type: '500' },
  { type: '502html' },
  { type: '503' },
  { type: '503', retryAfter: 7 },
  { type: 'truncate', mode: 'content-length' },
  { type: 'truncate', mode: 'chunked' },
  { type: 'truncate', mode: 'clean' },
  { type: 'emptyBody' },
  { type: 'htmlOk' },
  { type: 'wrongType' },
  { type: 'hang' },
  { type: 'slow', bytesPerSec: 40_000 },
  { type: 'delay', ms: 2_000 },
  { type: 'reset', when: 'before' },
  { type: 'reset', when: 'midBody' },
  { type: 'dupItems' },
  { type: 'shuffle' },
  { type: 'replay' },
  { type: 'partialItems' },
  { type: 'historyLess' },
  { type: 'messagesOnly' },
  { type: 'oneRecord' },
  { type: 'brokenItem' },
  { type: 'numberIds' },
  { type: 'lateHistory', ms: 60_000 },
  { type: 'transient404', ms: 4_000 },
  { type: '401untilRefresh' },
  { type: 'invalid_grant' },
  { type: 'invalid_client' },
  { type: 'token5xx' },
  { type: 'clockSkew', s: 3_600 },
]
const FORGETFUL: readonly Fault[] = [
  ...(['resyncRequired', 'SyncStateNotFound', 'syncStateInvalid'] as const).map(
    (code): Fault => ({ type: 'expireDelta', code }),
  ),
  { type: 'badPageToken' },
]
/** A delta walk that is forgotten begins anew: one of a hundred pages would never end if one in twenty were. */
const FORGOTTEN_MOST = 5
/** Those that only one of the providers has, or that mean something only on a list. */
const OF_PROVIDER: Record<ProviderName, readonly Rule[]> = {
  google: [
    { fault: { type: '403rate', retryAfter: 7 } },
    { fault: { type: '400precondition' } },
    { fault: { type: 'badPageToken' } },
    { match: { route: 'gmail.history.list' }, fault: { type: 'expireHistory' } },
    { match: { route: 'gmail.messages.list' }, fault: { type: 'vanish' } },
  ],
  microsoft: [
    ...FORGETFUL.map((fault) => ({ match: { route: 'graph.messages.delta' }, fault, times: FORGOTTEN_MOST })),
    { match: { route: 'graph.messages.delta' }, fault: { type: 'vanish' } },
  ],
}
const WAIT_MS = 600_000
/** Most of the time passes with single messages that wait for hours; polls meanwhile only cost. */
const INTERVAL_MS = 3_600_000

/**
 * Where they are met. Nine folder names are looked up in one page: each of them at this rate, it would take a thousand tries.
 */
const ROUTES: Record<ProviderName, readonly string[]> = {
  google: ['*'],
  microsoft: ['graph.messages.*', 'graph.mailFolders.delta', 'microsoft.*'],
}

function spoil(box: Box): void {
  // Each costs a second of real time to unpack.
  box.fault({ type: 'gzipBomb' }, { p: SHARE }, 3)
  for (const { match, fault, times } of OF_PROVIDER[box.provider]) box.fault(fault, { ...match, p: SHARE }, times)
  for (const route of ROUTES[box.provider]) {
    for (const fault of EVERY) box.fault(fault, { route, p: SHARE })
    for (const field of FIELDS) box.fault({ type: 'dropField', field }, { route, p: SHARE / FIELDS.length })
  }
  for (const fault of EVERY) box.fault(fault, { route: 'graph.mailFolders.get', p: SHARE / EVERY.length })
}

/** Lets time pass until nothing waits, signing in again whenever the account asks for it. */
async function toItsEnd(box: Box): Promise<number> {
  let signIns = 0
  for (let waits = 0; waits < 2_000; waits++) {
    await box.advance(WAIT_MS)
    const { state } = box.status()
    if (state === 'live') return signIns
    if (state !== 'needs_reauth') continue
    signIns++
    await box.reconnect()
  }
  return assert.fail(`it does not come to an end: ${JSON.stringify(box.status())}`)
}

/** As `mailctl audit` asks for it and reads it. There is no stream here, so its part of the audit finds nothing. */
async function auditIsClean(box: Box): Promise<void> {
  const ask = (start: boolean): AccountAudit => {
    const { worker } = box
    const deps = { instance: 'a', statuses: [box.status()], workerOf: () => worker }
    return audit(box.account.userId, { start }, deps).accounts[0] ?? assert.fail('no account')
  }
  const { started_at: startedAt } = ask(true)
  await box.until('the audit is done', () => ask(false).state === 'done')
  const { started_at, missing, extra, twice, absent, stale, gone, provider_total, stored } = ask(false)
  assert.deepEqual(
    { started_at, missing, extra, twice, absent, stale, total: Number(provider_total) + Number(gone) },
    { started_at: startedAt, missing: 0, extra: 0, twice: 0, absent: 0, stale: false, total: stored },
  )
}

/** @param n seeded mails @returns the log of the run, which is the same for the same arguments. */
export async function fivePercent(provider: ProviderName, n: number, seed: number): Promise<string[]> {
  let serial = 0
  await using box = await Box.open(provider, {
    ...{ n, seed, intervalMs: INTERVAL_MS, paging: 'offset', strictRotation: true, googleRotation: 'sometimes' },
    latencyMs: () => 20 + ((serial++ * 37) % 101),
  })
  spoil(box)
  await box.advance(WAIT_MS)
  for (let mails = 0; mails < 20; mails++) box.deliver()
  await toItsEnd(box)
  const log = box.sim.log().map(({ t, url, status, fault }) => `${t} ${url} ${status} ${fault ?? ''}`)
  box.sim.faults.clear()
  await box.advance(2 * INTERVAL_MS)
  await box.untilLive(24 * 3_600_000)
  const { rows } = box.mail()
  assert.deepEqual([box.status().set_aside, box.status().progress.done], [0, rows.length])
  await auditIsClean(box)
  box.assertWhole()
  return log
}
