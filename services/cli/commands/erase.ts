/** mailctl erase: has all there is of a user erased, and waits until it is done. Interrupted, the service goes on. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Command, Option } from 'commander'
import { trailSubject } from '#shared/subjects.ts'
import { hiddenUser } from '#shared/trail.ts'
import { type Cli, CliFailure, type Start, seconds, withUser } from '../cli.ts'
import { duration } from '../output.ts'

const LOOK_MS = 250

type Options = { user: string; timeout: number }

export function addErase(program: Command, start: Start): void {
  withUser(program.command('erase'))
    .description('revoke the grants of a user and erase all mail data, events, tokens and records, on every instance')
    .addOption(new Option('--timeout <seconds>', 'how long to wait for the end').argParser(seconds).default(600))
    .action(
      start([], async (cli: Cli, _args, { user, timeout }: Options) => {
        const endMs = performance.now() + timeout * 1_000
        for (let reply = await cli.erase(user); ; reply = await cli.erase(user)) {
          if (reply.state === 'done') {
            // The user as the audit trail has it: to find the receipt again.
            const subject = trailSubject(hiddenUser(user), 'erase')
            cli.out.data({ ...reply, receipt_subject: subject })
            cli.out.line(`${cli.out.paint('green', '✔')} erased; receipt ${reply.receipt} on ${subject}`)
            return
          }
          if (performance.now() > endMs)
            throw new CliFailure(
              `not done after ${duration(timeout)}; the instances go on. Run this again to learn when it is`,
            )
          await sleep(LOOK_MS, undefined, { signal: cli.signal })
        }
      }),
    )
}
