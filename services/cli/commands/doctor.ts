/** mailctl doctor: one line per check with its remedy. Exit code 1 when one failed. */
import type { Command } from 'commander'
import type { Env } from '#shared/env.ts'
import { ExitError } from '#shared/lifecycle.ts'
import {
  checkClients,
  checkInstances,
  checkIssuer,
  checkJetStream,
  checkNode,
  checkPermissions,
  checkStreams,
  checkVersion,
  type Finding,
} from '../checks.ts'
import { type Cli, type Start, UsageError } from '../cli.ts'
import { plain } from '../output.ts'

export function addDoctor(program: Command, start: Start): void {
  program
    .command('doctor')
    .description('check what mail-sync needs, one line per check with its remedy')
    .action(
      start([], async (cli: Cli) => {
        const findings: Finding[] = []
        for await (const finding of examine(cli)) {
          findings.push(finding)
          cli.out.line(lineOf(cli, finding))
        }
        cli.out.data(findings)
        return findings.some(({ state }) => state === 'failed') ? 1 : 0
      }),
    )
}

async function* examine(cli: Cli): AsyncGenerator<Finding> {
  yield checkNode()
  const { env, faults } = environmentOf(cli)
  yield* faults
  if (env === undefined) return
  try {
    const nc = await cli.nats()
    yield { state: 'ok', text: `NATS at ${env.NATS_URL}${env.NATS_USER === undefined ? '' : ` as ${env.NATS_USER}`}` }
    yield checkVersion(nc)
    yield checkJetStream(nc)
    yield checkPermissions(nc)
    if (nc.info?.jetstream === true) yield* await checkStreams(nc, env)
    yield await checkInstances(nc)
  } catch (error) {
    if (!(error instanceof ExitError)) throw error
    yield { state: 'failed', text: `NATS at ${env.NATS_URL}`, remedy: error.message }
  }
  yield* checkClients(env)
  yield* await checkIssuer(env, cli.signal)
}

/** The environment, or one finding for each malformed variable and one that says what was left out. */
function environmentOf(cli: Cli): { env: Env | undefined; faults: Finding[] } {
  try {
    return { env: cli.env, faults: [] }
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    const faults = error.message.split('\n').map((line): Finding => {
      const [, name = 'the environment', expected = line] = /^(\w+) (must be .*)$/.exec(line) ?? []
      return { state: 'failed', text: `${name} is malformed`, remedy: `it ${expected}` }
    })
    const text = 'the other checks were left out, they need the environment'
    return { env: undefined, faults: [...faults, { state: 'note', text, remedy: 'mend the variables first' }] }
  }
}

function lineOf({ out }: Cli, { state, text, remedy }: Finding): string {
  const mark = { ok: out.paint('green', '✔'), failed: out.paint('red', '✖'), note: out.paint('yellow', '•') }[state]
  return `${mark} ${plain(text)}${remedy === undefined ? '' : ` → ${plain(remedy)}`}`
}
