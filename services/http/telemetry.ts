/**
 * Metrics of the bridge: its own, and those of each instance from `$SRV.STATS`, asked at most every five seconds.
 * Labels are routes and codes, never paths as sent, never users.
 */
import { ERRORS } from '#shared/errors.ts'
import { Counter, collectProcessMetrics, createRegistry, flatName, Histogram, withLabel } from '#shared/metrics.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { type InstanceStats, instanceName, statsOfInstances } from '#shared/service-view.ts'

const CACHE_MS = 5_000
const WAIT_MS = 1_000

export type HttpTelemetry = {
  /** One answered request. `route` is a path of the table or `other`. */
  answered(request: { method: string; route: string; status: number; code: string | null; seconds: number }): void
  /** Text of `/metrics`. */
  text(): Promise<string>
}

export function createHttpTelemetry(nc: NatsConnection): HttpTelemetry {
  const registry = createRegistry()
  collectProcessMetrics(registry, 'mailsync_http_')
  const requests = new Histogram({
    name: 'mailsync_http_request_seconds',
    help: 'Time from request to answer',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.005, 0.02, 0.1, 0.5, 1, 3, 5, 15],
    registers: [registry],
  })
  const errors = new Counter({
    name: 'mailsync_http_errors_total',
    help: 'Requests answered with an error, by its code',
    labelNames: ['code'],
    registers: [registry],
  })
  // The first error of a code is a rise only from a 0 that was there before it.
  for (const code of Object.keys(ERRORS)) errors.inc({ code }, 0)
  let cached: { atMs: number; text: Promise<string> } | undefined
  return {
    answered({ method, route, status, code, seconds }) {
      requests.observe({ method, route, status }, seconds)
      if (code !== null) errors.inc({ code })
    },
    async text() {
      const now = performance.now()
      if (cached === undefined || now - cached.atMs > CACHE_MS) cached = { atMs: now, text: instancesText(nc) }
      return `${await registry.metrics()}${await cached.text}`
    },
  }
}

async function instancesText(nc: NatsConnection): Promise<string> {
  try {
    return textOf(await statsOfInstances(nc, WAIT_MS))
  } catch (error) {
    // Without NATS there are no instances to be seen; the gauge below says so.
    if (error instanceof Error) return textOf([])
    throw error
  }
}

/** Prometheus text of the instances' counters, each with the label `instance`. Samples of one name stand together. */
export function textOf(instances: InstanceStats[]): string {
  const samples: [string, number][] = [['mailsync_instances', instances.length]]
  for (const stats of instances) {
    const instance = instanceName(stats)
    for (const endpoint of stats.endpoints) {
      const labels = { instance, endpoint: endpoint.name }
      samples.push(
        [flatName('mailsync_endpoint_requests_total', labels), endpoint.num_requests],
        [flatName('mailsync_endpoint_errors_total', labels), endpoint.num_errors],
        [flatName('mailsync_endpoint_processing_seconds_total', labels), endpoint.processing_time / 1e9],
        [flatName('mailsync_endpoint_in_flight', labels), endpoint.data?.in_flight ?? 0],
      )
      for (const [code, n] of Object.entries(endpoint.data?.errors ?? {}))
        samples.push([flatName('mailsync_endpoint_errors_by_code_total', { ...labels, code }), n])
      for (const [flat, value] of Object.entries(endpoint.data?.metrics ?? {})) {
        const name = withLabel(flat, 'instance', instance)
        if (name !== null) samples.push([name, value])
      }
    }
  }
  const families = Map.groupBy(samples, ([name]) => name.split('{')[0] ?? name)
  const lines = [...families].flatMap(([family, members]) => [
    `# TYPE ${family} ${family.endsWith('_total') ? 'counter' : 'untyped'}`,
    ...members.map(([name, value]) => `${name} ${value}`),
  ])
  return `${lines.join('\n')}\n`
}
