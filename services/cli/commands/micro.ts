/** mailctl micro: what `$SRV` says about the running instances. */
import type { Command } from 'commander'
import {
  type InstanceInfo,
  type InstanceStats,
  infoOfInstances,
  instanceName,
  statsOfInstances,
} from '#shared/service-view.ts'
import { type Cli, CliFailure, type Start } from '../cli.ts'
import { plain, table } from '../output.ts'

const WAIT_MS = 1_000

export function addMicro(program: Command, start: Start): void {
  program
    .command('micro')
    .description('show the running instances, their endpoints and statistics')
    .action(
      start([], async (cli: Cli) => {
        const nc = await cli.nats()
        const [infos, stats] = await Promise.all([infoOfInstances(nc, WAIT_MS), statsOfInstances(nc, WAIT_MS)])
        if (stats.length === 0) throw new CliFailure('no mail-sync instance answers: start one with "npm start"')
        cli.out.data(stats.map((one) => ({ ...one, info: infos.find((info) => info.id === one.id) ?? null })))
        for (const one of stats) {
          const info = infos.find((candidate) => candidate.id === one.id)
          for (const line of instanceLines(one, info)) cli.out.line(line)
        }
      }),
    )
}

function instanceLines(stats: InstanceStats, info: InstanceInfo | undefined): string[] {
  const metadata = Object.entries(info?.metadata ?? stats.metadata ?? {}).map(([key, value]) => `${key}=${value}`)
  const rows = stats.endpoints.map((endpoint) => [
    `  ${plain(endpoint.name)}`,
    plain(endpoint.subject),
    String(endpoint.num_requests),
    String(endpoint.num_errors),
    milliseconds(endpoint.average_processing_time / 1e6),
    endpoint.data?.p50_ms == null ? '-' : milliseconds(endpoint.data.p50_ms),
    endpoint.data?.p95_ms == null ? '-' : milliseconds(endpoint.data.p95_ms),
    String(endpoint.data?.in_flight ?? 0),
    plain(endpoint.last_error) || '-',
  ])
  return [
    plain(`${instanceName(stats)}  ${stats.name} ${stats.version}  id ${stats.id}  since ${stats.started}`),
    ...(metadata.length === 0 ? [] : [plain(`  ${metadata.join(' ')}`)]),
    ...table([
      ['  endpoint', 'subject', 'requests', 'errors', 'average', 'p50', 'p95', 'in flight', 'last error'],
      ...rows,
    ]),
  ]
}

const milliseconds = (ms: number): string => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`
