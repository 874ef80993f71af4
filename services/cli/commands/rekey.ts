/**
 * mailctl rekey: has all stored tokens sealed with the key that every instance seals with, and waits until none is left.
 * Interrupted, or when an instance dies, what is done stays done; the next one goes on.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import type { NatsConnection } from '#shared/nats.ts'
import type { KeyCounts, RekeyReply } from '#shared/rekey.ts'
import { fleetOf, rekeyOf } from '#shared/service-view.ts'
import { uuidV7 } from '#shared/uuid.ts'
import { type Cli, CliFailure, type Start, seconds } from '../cli.ts'
import { duration, type Output, plain, table } from '../output.ts'

const WAIT_MS = 5_000
const LOOK_MS = 250
/** So often nothing changed: nothing will. */
const STILL_MAX = 10

type Options = { show?: boolean; timeout: number }

export function addRekey(program: Command, start: Start): void {
  program
    .command('rekey')
    .description('seal all stored tokens with the first key of the instances, and count the rows of each key')
    .option('--show', 'change nothing, only count')
    .option('--timeout <seconds>', 'how long to wait for the end', seconds, 3_600)
    .action(
      start([], async (cli: Cli, _args, { show: isShow, timeout }: Options) => {
        const nc = await cli.nats()
        const requestId = uuidV7()
        if (isShow === true) return show(await ask(nc, requestId), cli.out)
        const first = await agreed(nc, requestId)
        const last = await rekey(nc, first, requestId, timeout, cli)
        return show(last, cli.out)
      }),
    )
}

async function ask(nc: NatsConnection, requestId: string, to?: string): Promise<RekeyReply[]> {
  const replies = await rekeyOf(nc, to === undefined ? {} : { to }, requestId, WAIT_MS)
  return replies.toSorted((a, b) => (a.instance < b.instance ? -1 : 1))
}

/** Every instance that lives has answered, and all seal with one key: else one would meet tokens that it cannot open. */
async function agreed(nc: NatsConnection, requestId: string): Promise<RekeyReply[]> {
  const [replies, fleet] = [await ask(nc, requestId), await fleetOf(nc, WAIT_MS)]
  if (fleet.length === 0) throw new CliFailure('no mail-sync instance answers: start one with "npm start"')
  const sids = new Set(fleet.map(({ sid }) => sid))
  const sessions = fleet.flatMap((one) => one.sessions)
  const dead = new Set(sessions.flatMap(({ sid, state }) => (state === 'dead' ? [sid] : [])))
  const silent = sessions.filter(({ sid }) => !sids.has(sid) && !dead.has(sid)).map(({ instance }) => instance)
  const answered = new Set(replies.map(({ instance }) => instance))
  const deaf = fleet.map(({ instance }) => instance).filter((instance) => !answered.has(instance))
  const missing = [...new Set([...silent, ...deaf])].toSorted()
  if (missing.length > 0)
    throw new CliFailure(
      `${plain(missing.join(', '))} did not answer: an instance that has not the new key could not open what is sealed with it. mail.rekey is served where NATS has users; an instance that is gone counts as dead after some seconds`,
    )
  if (new Set(replies.map(({ active }) => active)).size > 1)
    throw new CliFailure(
      `the instances seal with different keys (${replies.map((one) => plain(`${one.instance}: ${one.active}`)).join(', ')}): put one key first on each of them, then restart them`,
    )
  return replies
}

/** @throws CliFailure when the time is over, or when nothing changes any more */
async function rekey(
  nc: NatsConnection,
  first: RekeyReply[],
  requestId: string,
  timeoutS: number,
  cli: Cli,
): Promise<RekeyReply[]> {
  const to = first[0]?.active ?? ''
  const names = first.map(({ instance }) => instance).join()
  const endMs = performance.now() + timeoutS * 1_000
  for (let [before, still] = ['', 0]; ; await sleep(LOOK_MS, undefined, { signal: cli.signal })) {
    const replies = await ask(nc, requestId, to)
    const left = leftOf(replies)
    const isAll = replies.map(({ instance }) => instance).join() === names
    if (isAll && left === 0) return replies
    // Each request begins a pass where rows are left: that one runs says nothing, that it gets on does.
    const seen = JSON.stringify(replies.map(({ instance, resealed, rows }) => [instance, resealed, rows]))
    still = seen === before ? still + 1 : 0
    before = seen
    const isOver = performance.now() > endMs
    if (!isOver && still < STILL_MAX) continue
    show(replies, cli.out)
    const why = isOver ? `not done after ${duration(timeoutS)}` : 'nothing changes any more'
    const what = isAll ? `${left} row(s) are left; the log of the instances says why` : 'an instance has gone'
    throw new CliFailure(`${why}: ${what}. What is done stays done, run this again to go on`)
  }
}

const others = (counts: KeyCounts, active: string): number =>
  Object.entries(counts).reduce((sum, [kid, rows]) => (kid === active ? sum : sum + rows), 0)

/** The bucket is one, whoever looks at it; an auth.db has each. */
function leftOf(replies: RekeyReply[]): number {
  const records = replies.map(({ rows, active }) => others(rows.accounts, active))
  const mirrors = replies.map(({ rows, active }) => others(rows.auth_db, active))
  return Math.max(0, ...records) + mirrors.reduce((sum, rows) => sum + rows, 0)
}

function show(replies: RekeyReply[], out: Output): number {
  if (replies.length === 0)
    throw new CliFailure(
      'no instance answers mail.rekey: it is served where NATS has users; start one with "npm start"',
    )
  const seals = [...new Set(replies.map(({ active }) => active))]
  const kids = new Set([...seals, ...replies.flatMap(({ rows }) => Object.keys({ ...rows.accounts, ...rows.auth_db }))])
  const rows = [...kids].map((kid) => ({
    kid,
    records: Math.max(...replies.map((one) => one.rows.accounts[kid] ?? 0)),
    mirrors: replies.map((one) => one.rows.auth_db[kid] ?? 0),
  }))
  const removable = rows
    .filter(({ kid, records, mirrors }) => !seals.includes(kid) && records + Math.max(...mirrors) === 0)
    .map(({ kid }) => kid)
  out.data({ active: seals, left: leftOf(replies), removable, instances: replies })
  const head = ['key', '', 'accounts', ...replies.map(({ instance }) => plain(`auth.db of ${instance}`))]
  const body = rows.map(({ kid, records, mirrors }) => [
    kid,
    seals.includes(kid) ? 'seals' : '',
    ...[records, ...mirrors].map(String),
  ])
  for (const line of table([head, ...body])) out.line(line)
  for (const kid of removable) out.line(`${kid}: no row needs it; it can be removed from the keys of every instance`)
  return 0
}
