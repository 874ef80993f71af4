/** The command line of mailctl as a table of commands. It knows how a command is started, not what it does. */
import { Command, CommanderError } from 'commander'
import packageJson from '../../package.json' with { type: 'json' }
import { runCommand, type Start } from './cli.ts'
import { addAudit } from './commands/audit.ts'
import { addConnect } from './commands/connect.ts'
import { addContract } from './commands/contract.ts'
import { addDisconnect } from './commands/disconnect.ts'
import { addDoctor } from './commands/doctor.ts'
import { addErase } from './commands/erase.ts'
import { addFleet } from './commands/fleet.ts'
import { addLogin } from './commands/login.ts'
import { addMicro } from './commands/micro.ts'
import { addQuarantine } from './commands/quarantine.ts'
import { addRekey } from './commands/rekey.ts'
import { addStatus } from './commands/status.ts'
import { addTail } from './commands/tail.ts'
import { addWhy } from './commands/why.ts'
import { createOutput } from './output.ts'

const HELP = `
Environment: NATS_URL, NATS_USER, NATS_PASSWORD (or NATS_CREDS) say where and as whom; see .env.example.
Exit codes: 0 done, 1 failed, 2 wrong usage.`

function usageError({ code, message }: CommanderError): { error: { code: 'USAGE'; message: string } } {
  const text = code === 'commander.help' ? 'no command: see mailctl --help' : message.replace(/^error: /, '')
  return { error: { code: 'USAGE', message: text } }
}

/** Runs one command line and returns its exit code. */
export async function runProgram(argv: readonly string[], signal: AbortSignal): Promise<number> {
  let code = 0
  const json = argv.includes('--json')
  const program = new Command('mailctl')
    .description('operate mail-sync: connect mailboxes, watch their sync, look into what runs')
    .version(packageJson.version)
    .option('--json', 'results as JSON on stdout, one value per line')
    .addHelpText('after', HELP)
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .configureOutput(json ? { writeErr: () => undefined } : {})
  const start: Start =
    (needs, action) =>
    async (...args) => {
      const command = args.at(-1)
      if (!(command instanceof Command)) throw new TypeError('commander passes the command last')
      const options = command.optsWithGlobals()
      code = await runCommand(options, needs, signal, async (cli) => {
        const done = await action(cli, command.args, options as Parameters<typeof action>[2])
        return typeof done === 'number' ? done : 0
      })
    }
  const looks = [addTail, addWhy, addQuarantine, addAudit, addRekey, addFleet, addMicro, addDoctor, addContract]
  for (const add of [addLogin, addConnect, addStatus, addDisconnect, addErase, ...looks]) add(program, start)
  try {
    await program.parseAsync([...argv], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    // Help and version, asked for, are a success.
    if (error.exitCode === 0) return 0
    // For people commander has written it.
    createOutput(json).data(usageError(error))
    return 2
  }
  return code
}
