/** mailctl status: the accounts of a user, once or again and again. It only reads. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import type { AccountStatus, StatusReply } from '#shared/contract.ts'
import { type CallerOptions, type Cli, type Start, seconds, withCaller } from '../cli.ts'
import { duration, type Output, type Paint, plain, table } from '../output.ts'

const BAR_WIDTH = 20
type Options = CallerOptions & { watch?: boolean; interval: number }

export function addStatus(program: Command, start: Start): void {
  withCaller(program.command('status'))
    .description('show the accounts of a user: state, progress, outbox, last error')
    .option('-w, --watch', 'show it again and again until interrupted')
    .option('--interval <seconds>', 'time between two looks with --watch', seconds, 1)
    .action(
      start([], async (cli: Cli, _args, options: Options) => {
        let shown = 0
        do {
          const reply = await cli.request('status', options, {})
          cli.out.data(reply)
          const lines = statusLines(reply, cli.out)
          // On a terminal a new look takes the place of the last one.
          if (cli.out.terminal && shown > 0) process.stdout.write(`\u001b[${shown}A\u001b[J`)
          for (const line of lines) cli.out.line(line)
          shown = lines.length
          if (options.watch === true) await sleep(options.interval * 1000, undefined, { signal: cli.signal })
        } while (options.watch === true)
      }),
    )
}

function statusLines(reply: StatusReply, out: Output): string[] {
  const user = plain(reply.user_id)
  if (reply.accounts.length === 0) return [`${user}: no mailbox connected`]
  const rows = reply.accounts.map((account) => cellsOf(account, out))
  const errors = reply.accounts.flatMap((account) => errorLine(account))
  return [`${user}: ${reply.running_syncs.length} of ${reply.accounts.length} running`, ...table(rows), ...errors]
}

function cellsOf(account: AccountStatus, out: Output): string[] {
  const { progress, outbox } = account
  const total = progress.total_estimate === null ? '' : ` of ${progress.total_estimate}`
  const percent = progress.percent === null ? '' : ` ${Math.floor(progress.percent)}%`
  const speed =
    progress.rate_per_s === null ? '' : ` ${progress.rate_per_s.toFixed(1)}/s eta ${duration(progress.eta_s)}`
  const bar = out.terminal && progress.percent !== null ? `${barOf(progress.percent)} ` : ''
  return [
    `  ${account.provider}/${account.inbox_id}`,
    plain(account.address ?? '-'),
    out.paint(colourOf(account.state), account.state),
    `${bar}${progress.done}${total}${percent}${speed}`,
    `outbox ${outbox.pending}${outbox.oldest_age_s === null ? '' : ` (oldest ${duration(outbox.oldest_age_s)})`}`,
    account.live ? `on ${plain(account.instance ?? '-')}` : 'last checkpoint',
  ]
}

function errorLine({ provider, inbox_id, last_error }: AccountStatus): string[] {
  if (last_error === null) return []
  const again = last_error.retry_at === null ? '' : `, again at ${new Date(last_error.retry_at * 1000).toISOString()}`
  return [
    `  ${provider}/${inbox_id}: ${plain(last_error.code)} (${last_error.count}x): ${plain(last_error.message)}${again}`,
  ]
}

function colourOf(state: AccountStatus['state']): Paint {
  if (state === 'live') return 'green'
  return state === 'needs_reauth' || state === 'paused' ? 'red' : 'yellow'
}

function barOf(percent: number): string {
  const full = Math.round((Math.min(Math.max(percent, 0), 100) / 100) * BAR_WIDTH)
  return `${'█'.repeat(full)}${'░'.repeat(BAR_WIDTH - full)}`
}
