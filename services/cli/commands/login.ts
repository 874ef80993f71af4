/** mailctl login: signs a person in at the provider, then connects the mailbox. */
import type { Command } from 'commander'
import { type CallerOptions, type Cli, type Start, seconds, UsageError, wholeNumber, withCaller } from '../cli.ts'
import { signIn, signInOf } from '../sign-in.ts'
import { connect, providerOf } from './connect.ts'

type Options = CallerOptions & { inbox?: string; timeout: number; port: number }

export function addLogin(program: Command, start: Start): void {
  withCaller(program.command('login <provider>'))
    .description('sign in at google or microsoft in a browser, then connect that mailbox')
    .option('--inbox <id>', 'which inbox of the user (default: primary)')
    .option('--timeout <seconds>', 'how long to wait for the sign-in', seconds, 300)
    .option('--port <number>', 'loopback port of the answer; 0 = any free one', wholeNumber(0, 65_535), 0)
    .action(
      start([], async (cli: Cli, [name], options: Options) => {
        const provider = providerOf(name)
        const to = signInOf(provider, cli.env)
        if (to.client.client_id === '')
          throw new UsageError(`${provider.toUpperCase()}_CLIENT_ID is not set: the client id of your own project`)
        if ((options.user === undefined) === (options.jwt === undefined))
          throw new UsageError('give either --user or --jwt')
        // Before a person signs in: a token that cannot be handed over is of no use.
        await cli.nats()
        await connect(cli, provider, await signIn(cli, to, options.port, options.timeout * 1000), options)
      }),
    )
}
