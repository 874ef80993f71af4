/** mailctl disconnect: stops the sync of one inbox. The mail data stays. */
import type { Command } from 'commander'
import { type CallerOptions, type Cli, type Start, withCaller } from '../cli.ts'
import { providerOf } from './connect.ts'

type Options = CallerOptions & { inbox?: string }

export function addDisconnect(program: Command, start: Start): void {
  withCaller(program.command('disconnect <provider>'))
    .description('stop the sync of a mailbox and delete its tokens; the mail data stays')
    .option('--inbox <id>', 'which inbox of the user (default: primary)')
    .action(
      start([], async (cli: Cli, [name], options: Options) => {
        const body = { provider: providerOf(name), ...(options.inbox === undefined ? {} : { inbox_id: options.inbox }) }
        const reply = await cli.request('disconnect', options, body)
        cli.out.data(reply)
        cli.out.line(`${cli.out.paint('green', '✔')} ${reply.message}`)
      }),
    )
}
