/**
 * Metrics of one program: a registry of its own, its flat form for `$SRV.STATS`, and `/metrics`, with `/healthz` and
 * `/readyz` beside it for whoever watches the process.
 * Names start with `mailsync_`; a user id is never a label.
 */
import type { IncomingMessage } from 'node:http'
import { collectDefaultMetrics, Registry } from 'prom-client'
import { EXIT_CONFIG, ExitError } from './lifecycle.ts'

export { Counter, Gauge, Histogram, type Registry } from 'prom-client'

/** A sample as Prometheus writes it: name, labels in braces, no value. */
const FLAT_NAME = /^mailsync_[a-z0-9_]+(?:\{[a-z_]+="[^"\\\n]*"(?:,[a-z_]+="[^"\\\n]*")*\})?$/

/** A registry of its own, so that several programs can live in one test process. */
export const createRegistry = (): Registry => new Registry()

/**
 * The lag of an event loop is measured by a timer with this period, ms: what prom-client tells is the distance of two ticks, this when
 * nothing is late. Each tick wakes the process, and a wake-up is what a process at rest spends (ADR 0055).
 */
export const LOOP_TICK_MS = 50

/** Memory, CPU and event-loop lag of this process. The bridge passes on the names of instances, so its own differ. */
export const collectProcessMetrics = (registry: Registry, prefix: 'mailsync_' | 'mailsync_http_'): void =>
  collectDefaultMetrics({ register: registry, prefix, eventLoopMonitoringPrecision: LOOP_TICK_MS })

/**
 * All samples of a registry as `name{label="value"}` → number, as an instance puts them into its STATS. JSON has no NaN: what has no value
 * is left out, as the mean lag of an event loop when somebody else has just read it.
 */
export async function flatMetrics(registry: Registry): Promise<Record<string, number>> {
  const flat: Record<string, number> = {}
  for (const metric of await registry.getMetricsAsJSON()) {
    for (const value of metric.values) {
      if (!Number.isFinite(value.value)) continue
      const name = 'metricName' in value && typeof value.metricName === 'string' ? value.metricName : metric.name
      flat[flatName(name, value.labels)] = value.value
    }
  }
  return flat
}

/** `name{a="1",b="2"}`; characters that would need escaping are replaced by a space. */
export function flatName(name: string, labels: Record<string, string | number | undefined>): string {
  const pairs = Object.entries(labels)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}="${String(value).replace(/["\\\p{Cc}]/gu, ' ')}"`)
  return pairs.length === 0 ? name : `${name}{${pairs.join(',')}}`
}

/**
 * A flat name with one more label in front, or null when it is not one of ours.
 * What comes over NATS is checked here before it becomes text of `/metrics`.
 */
export function withLabel(flat: string, label: string, value: string): string | null {
  if (!FLAT_NAME.test(flat)) return null
  const [name = '', rest = ''] = flat.split(/\{(.*)/s)
  const own = flatName(name, { [label]: value })
  return rest === '' ? own : `${own.slice(0, -1)},${rest}`
}

export type MetricsServer = {
  /** The port that was bound. */
  port: number
  /** Resolves when the signal aborted and the server is closed. */
  closed: Promise<void>
}

type MetricsOptions = {
  host: string
  port: number
  registry: Registry
  /** What the program is, in one word; it is ready when that is `live`. */
  state(): string
  signal: AbortSignal
}

/**
 * Serves `/metrics`, `/healthz` (the process answers) and `/readyz` (it also works) until the signal aborts; port 0 =
 * any free one. @throws ExitError 78 when it cannot listen there.
 */
export async function serveMetrics(options: MetricsOptions): Promise<MetricsServer> {
  const { host, port } = options
  // As an import it would be read with all its getters, and one of them loads the platform's own undici, which takes 60 ms.
  const { createServer } = process.getBuiltinModule('node:http')
  const server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000 }, (request, response) => {
    void answer(request, options).then(({ status, type, text }) =>
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(text),
    )
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new ExitError(EXIT_CONFIG, `cannot serve metrics on ${host}:${port}`, { cause })),
    )
    server.listen(port, host, resolve)
  })
  const closed = new Promise<void>((resolve) => server.once('close', () => resolve()))
  const stop = (): void => {
    server.close()
    server.closeAllConnections()
  }
  if (options.signal.aborted) stop()
  else options.signal.addEventListener('abort', stop, { once: true })
  const address = server.address()
  return { port: typeof address === 'object' && address !== null ? address.port : port, closed }
}

type Answer = { status: number; type: string; text: string }
const json = (status: number, body: unknown): Answer => ({
  status,
  type: 'application/json',
  text: JSON.stringify(body),
})

async function answer({ method, url }: IncomingMessage, { registry, state }: MetricsOptions): Promise<Answer> {
  if (method === 'GET' && url === '/healthz') return json(200, { status: 'ok' })
  if (method === 'GET' && url === '/readyz') {
    const now = state()
    return now === 'live' ? json(200, { status: 'ready' }) : json(503, { status: now })
  }
  if (method !== 'GET' || url !== '/metrics') return json(404, { status: 'not found' })
  try {
    return { status: 200, type: registry.contentType, text: await registry.metrics() }
  } catch {
    return json(500, { status: 'metrics failed' })
  }
}
