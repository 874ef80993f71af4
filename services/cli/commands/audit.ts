/**
 * mailctl audit: compares mailbox, database and stream of one user or of all, and follows until it is done. Interrupted, it
 * leaves the audits running; the next one joins them.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Kvm } from '@nats-io/kv'
import type { Command } from 'commander'
import PQueue from 'p-queue'
import { type AccountAudit, type AuditReply, isClean } from '#shared/audit.ts'
import { AppError } from '#shared/errors.ts'
import { BUCKET_ACCOUNTS, parseAccountKey } from '#shared/subjects.ts'
import { type Cli, CliFailure, type Start, seconds, UsageError, wholeNumber } from '../cli.ts'
import { duration, type Output, plain, table } from '../output.ts'

const LOOK_MS = 500
/** A user without an owner gets another one meanwhile. */
const NO_OWNER_MS = 30_000
const PASSING = ['NO_OWNER', 'NO_INSTANCE', 'TIMEOUT'] as const

type Options = { user?: string; all?: boolean; parallel: number; timeout: number }
const GOES_ON: readonly AccountAudit['state'][] = ['running', 'interrupted', 'never']

export function addAudit(program: Command, start: Start): void {
  program
    .command('audit')
    .description(
      'compare mailbox, database and stream; what is missing is fetched and published. Exit 1 if anything was found',
    )
    .option('-u, --user <id>', 'of this user, over mail.as.* (NATS permissions decide; NATS_USER=service)')
    .option('--all', `of every user; reads the bucket ${BUCKET_ACCOUNTS} (NATS_USER=ops)`)
    .option('--parallel <users>', 'users at a time with --all', wholeNumber(1, 64), 4)
    .option('--timeout <seconds>', 'how long to wait for one user', seconds, 3_600)
    .action(
      start([], async (cli: Cli, _args, { user, all, parallel, timeout }: Options) => {
        if ((user === undefined) === (all === undefined)) throw new UsageError('give either --user or --all')
        if (user !== undefined) return show(await auditUser(cli, user, timeout), cli.out)
        return await auditAll(cli, await connectedUsers(cli), parallel, timeout)
      }),
    )
}

/** Begins or joins, and waits for the end. @throws AppError; CliFailure when the time is over */
async function auditUser(cli: Cli, user: string, timeoutS: number): Promise<AuditReply> {
  const endMs = performance.now() + timeoutS * 1_000
  for (let begins = true; performance.now() < endMs; await sleep(LOOK_MS, undefined, { signal: cli.signal })) {
    const reply = await answer(cli, user, begins)
    if (!reply.accounts.some(({ state }) => GOES_ON.includes(state))) return reply
    // A hand-over ends what the instance before was doing.
    begins = reply.accounts.some(({ state }) => state === 'interrupted' || state === 'never')
  }
  throw new CliFailure(`${plain(user)}: not done after ${duration(timeoutS)}; it goes on, run this again to join it`)
}

async function answer(cli: Cli, user: string, start: boolean): Promise<AuditReply> {
  for (const endMs = performance.now() + NO_OWNER_MS; ; await sleep(LOOK_MS, undefined, { signal: cli.signal })) {
    try {
      return await cli.inspect('audit', user, { start })
    } catch (error) {
      const isPassing = error instanceof AppError && PASSING.some((code) => code === error.code)
      if (!isPassing || performance.now() > endMs) throw error
    }
  }
}

async function auditAll(cli: Cli, users: AsyncIterable<string>, parallel: number, timeoutS: number): Promise<number> {
  // Bound: one. The next user is read when nobody waits.
  const queue = new PQueue({ concurrency: parallel })
  const sum = { users: 0, unclean: 0, failed: 0 }
  for await (const user of users) {
    await queue.onSizeLessThan(1)
    cli.signal.throwIfAborted()
    void queue.add(async () => {
      sum.users++
      try {
        const reply = await auditUser(cli, user, timeoutS)
        // Not in one line with the await: the sum would be read before it, and what others found meanwhile lost.
        sum.unclean += show(reply, cli.out)
      } catch (error) {
        if (cli.signal.aborted) return
        sum.failed++
        const why = error instanceof AppError ? error.code : error instanceof CliFailure ? error.message : String(error)
        cli.out.note(`${cli.out.paint('red', '✖')} ${plain(user)}: ${plain(why)}`)
      }
    })
  }
  await queue.onIdle()
  cli.signal.throwIfAborted()
  cli.out.note(`${sum.users} user(s): ${sum.unclean} with findings, ${sum.failed} not audited`)
  return sum.unclean + sum.failed === 0 ? 0 : 1
}

/** Users with a connected mailbox, in the order of the bucket's keys. */
async function* connectedUsers(cli: Cli): AsyncGenerator<string> {
  const bucket = await new Kvm(await cli.nats()).open(BUCKET_ACCOUNTS)
  const seen = new Set<string>()
  for await (const key of await bucket.keys()) {
    const user = parseAccountKey(key)?.userId
    if (user === undefined || seen.has(user)) continue
    const record = (await bucket.get(key))?.json<{ desired?: unknown }>()
    if (record?.desired !== 'connected') continue
    seen.add(user)
    yield user
  }
}

/** 1 when anything was found. */
function show(reply: AuditReply, out: Output): number {
  out.data(reply)
  const user = plain(reply.user_id)
  if (reply.accounts.length === 0) out.line(`${user}: no mailbox connected`)
  else
    for (const line of [`${user}:`, ...table([HEAD, ...reply.accounts.map(cellsOf)]), ...named(reply)]) out.line(line)
  return reply.accounts.every(isClean) ? 0 : 1
}

const HEAD = [
  ...['  mailbox', 'audit', 'provider', 'stored', 'published', 'missing', 'extra', 'twice', 'absent', 'stale', 'gone'],
  'cost',
]

const cellsOf = (account: AccountAudit): string[] => [
  `  ${account.provider}/${plain(account.inbox_id)}`,
  account.state,
  String(account.provider_total ?? '-'),
  ...[account.stored, account.published, account.missing, account.extra, account.twice, account.absent].map(String),
  account.stale ? 'yes' : 'no',
  String(account.gone ?? '-'),
  `${account.cost} ${account.provider === 'google' ? 'quota units' : 'requests'}, ${account.passes} pass(es)`,
]

const named = ({ accounts }: AuditReply): string[] =>
  accounts.flatMap(({ provider, inbox_id, findings }) =>
    findings.map(({ what, event_id, sequence }) => {
      const at = sequence === null ? '' : ` at sequence ${sequence}`
      return plain(`  ${provider}/${inbox_id}: ${what}: ${event_id ?? 'no event of ours'}${at}`)
    }),
  )
