/** mailctl quarantine: the messages of a user that are set aside, and when each is tried again. It only asks. */
import type { Command } from 'commander'
import type { QuarantineReply } from '#shared/inspect.ts'
import { type Cli, type Start, withUser } from '../cli.ts'
import { plain, table } from '../output.ts'

export function addQuarantine(program: Command, start: Start): void {
  withUser(program.command('quarantine'))
    .description('show the messages of a user that are set aside, and when they are tried again')
    .action(
      start([], async (cli: Cli, _args, { user }: { user: string }) => {
        const reply = await cli.inspect('quarantine', user, {})
        cli.out.data(reply)
        for (const line of linesOf(reply)) cli.out.line(line)
      }),
    )
}

function linesOf({ user_id, accounts }: QuarantineReply): string[] {
  const total = accounts.reduce((sum, { set_aside }) => sum + set_aside, 0)
  const rows = accounts.flatMap(({ provider, inbox_id, messages }) =>
    messages.map((message) => [
      plain(`  ${provider}/${inbox_id}`),
      plain(message.message_id),
      `${message.attempts}x`,
      plain([message.reason, message.error].filter((part) => part !== null).join(' ')),
      time(message.next_attempt_at),
      plain(message.lane ?? '-'),
      time(message.listed_at),
    ]),
  )
  const head = ['  account', 'message', 'tried', 'last', 'again at', 'listed by', 'at']
  return [
    `${plain(user_id)}: ${total} message(s) set aside${total > rows.length ? `, the next ${rows.length} are shown` : ''}`,
    ...(rows.length === 0 ? [] : table([head, ...rows])),
  ]
}

const time = (seconds: number | null): string => (seconds === null ? '-' : new Date(seconds * 1000).toISOString())
