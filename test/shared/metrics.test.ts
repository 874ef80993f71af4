import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Counter, createRegistry, flatMetrics, Gauge, Histogram, serveMetrics, withLabel } from '#shared/metrics.ts'

test('a registry becomes flat names with labels, and these take one more label', async () => {
  const registry = createRegistry()
  const registers = [registry]
  new Gauge({ name: 'mailsync_accounts', help: 'h', labelNames: ['state'], registers }).set({ state: 'live' }, 3)
  new Counter({ name: 'mailsync_refresh_total', help: 'h', registers }).inc(2)
  new Histogram({ name: 'mailsync_publish_seconds', help: 'h', buckets: [1], registers }).observe(0.5)
  const flat = await flatMetrics(registry)
  assert.deepEqual(flat, {
    'mailsync_accounts{state="live"}': 3,
    mailsync_refresh_total: 2,
    'mailsync_publish_seconds_bucket{le="1"}': 1,
    'mailsync_publish_seconds_bucket{le="+Inf"}': 1,
    mailsync_publish_seconds_sum: 0.5,
    mailsync_publish_seconds_count: 1,
  })
  assert.deepEqual(
    Object.keys(flat).map((name) => withLabel(name, 'instance', 'a"\\\n1'))[0],
    'mailsync_accounts{instance="a   1",state="live"}',
  )
  assert.equal(withLabel('mailsync_refresh_total', 'instance', 'a'), 'mailsync_refresh_total{instance="a"}')
})

test('a name that is not ours, or that would break the text of /metrics, is left out', () => {
  for (const name of [
    'evil',
    'mailsync_a 1\nb',
    'mailsync_a{b="c"d"}',
    'mailsync_a{b="c\n"}',
    'mailsync_a{b=c}',
    'mailsync_a{}',
  ])
    assert.equal(withLabel(name, 'instance', 'a'), null, name)
})

test('/metrics is served on loopback until the signal aborts', async () => {
  const registry = createRegistry()
  new Counter({ name: 'mailsync_refresh_total', help: 'h', registers: [registry] }).inc(2)
  const stop = new AbortController()
  const options = { host: '127.0.0.1', port: 0, registry, state: () => 'live', signal: stop.signal }
  const server = await serveMetrics(options)
  const url = `http://127.0.0.1:${server.port}`
  const answer = await fetch(`${url}/metrics`)
  assert.match(answer.headers.get('content-type') ?? '', /^text\/plain/)
  assert.match(await answer.text(), /^mailsync_refresh_total 2$/m)
  assert.equal((await fetch(`${url}/`)).status, 404)
  await assert.rejects(serveMetrics({ ...options, port: server.port }), /cannot serve metrics/)
  stop.abort()
  await server.closed
  await assert.rejects(fetch(`${url}/metrics`))
})

test('/healthz says that the process answers, /readyz whether its session is live, and which state it is in if not', async () => {
  const stop = new AbortController()
  let state = 'suspended'
  const options = { host: '127.0.0.1', port: 0, registry: createRegistry(), state: () => state, signal: stop.signal }
  const server = await serveMetrics(options)
  const ask = async (path: string): Promise<unknown[]> => {
    const answer = await fetch(`http://127.0.0.1:${server.port}${path}`)
    return [answer.status, await answer.json()]
  }
  assert.deepEqual(await ask('/healthz'), [200, { status: 'ok' }])
  assert.deepEqual(await ask('/readyz'), [503, { status: 'suspended' }])
  state = 'live'
  assert.deepEqual(await ask('/readyz'), [200, { status: 'ready' }])
  stop.abort()
  await server.closed
})
