/** mailctl doctor: one line per check with its remedy. Exit code 1 when one failed. */
import type { Command } from 'commander'
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
import type { Cli, Start } from '../cli.ts'
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
  const { env, signal } = cli
  yield checkNode()
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
  yield* await checkIssuer(env, signal)
}

function lineOf({ out }: Cli, { state, text, remedy }: Finding): string {
  const mark = { ok: out.paint('green', '✔'), failed: out.paint('red', '✖'), note: out.paint('yellow', '•') }[state]
  return `${mark} ${plain(text)}${remedy === undefined ? '' : ` → ${plain(remedy)}`}`
}
