/**
 * A real nats-server for tests and the demo: free ports, a directory of its own, stop, restart, wipe.
 * Knows how a server is started and where its passwords are; refuses to know streams, subjects or clients.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify, stripVTControlCharacters } from 'node:util'
import { freePort } from './free-port.ts'
import { until } from './until.ts'

const SCRIPT = join(import.meta.dirname, '../../scripts/nats-server.sh')
const STOP_DEADLINE_MS = 10_000
const LOG_LINES_KEPT = 200

/** The users of nats.conf. */
export const NATS_ROLES = ['sys', 'mailsync', 'bridge', 'service', 'consumer', 'ops'] as const
export type NatsRole = (typeof NATS_ROLES)[number]

/** What a server is told to be one of a cluster. */
export type ClusterNode = { name: string; cluster: string; routePort: number; routePorts: readonly number[] }

export type NatsServerOptions = {
  /** `roles`: the project's nats.conf, one user per role. `open`: `nats-server -js`, no users at all. */
  conf?: 'roles' | 'open'
  /** Further options of nats-server; `-c FILE` takes that file in place of nats.conf. */
  args?: readonly string[]
  /** Working directory, kept afterwards. Without it: a temporary one, removed by dispose. */
  dir?: string
}

// A test process that ends early, or is ended by the runner's time limit, must not leave a server behind.
const killedWithUs = new Set<ChildProcess>()
const killAll = (): void => {
  for (const child of killedWithUs) child.kill('SIGKILL')
}
process.on('exit', killAll)
process.on('SIGTERM', () => {
  // With another listener, as in the demo, the end of this process is its business.
  if (process.listenerCount('SIGTERM') === 1) process.exit(143)
})

let found: Promise<string> | undefined
/** Path of a usable nats-server, looked up (and downloaded, if need be) once per process. */
export function natsServerPath(): Promise<string> {
  found ??= promisify(execFile)(SCRIPT, ['path']).then(({ stdout }) => stdout.trim())
  return found
}

/** Starts a server and waits until JetStream answers. @throws Error with the server's log when it does not start. */
export async function startNatsServer(options: NatsServerOptions = {}): Promise<NatsServer> {
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), 'mail-sync-nats-')))
  const server = new NatsServer(options.conf ?? 'roles', dir, options.dir === undefined, undefined, options.args)
  try {
    await server.start()
    return server
  } catch (error) {
    await server[Symbol.asyncDispose]()
    throw error
  }
}

export class NatsServer {
  readonly conf: 'roles' | 'open'
  readonly dir: string
  /** Password of each role; all empty for an open server. */
  passwords: Readonly<Record<NatsRole, string>> = passwordsOf('')
  #port = 0
  #monitorPort = 0
  #child: ChildProcess | undefined
  readonly #removeDir: boolean
  readonly #node: ClusterNode | undefined
  readonly #args: readonly string[]
  readonly #log: string[] = []

  constructor(
    conf: 'roles' | 'open',
    dir: string,
    removeDir: boolean,
    node?: ClusterNode,
    args: readonly string[] = [],
  ) {
    this.conf = conf
    this.dir = dir
    this.#removeDir = removeDir
    this.#node = node
    this.#args = args
  }

  get port(): number {
    return this.#port
  }
  get url(): string {
    return `nats://127.0.0.1:${this.#port}`
  }
  /** Base of the monitoring endpoints (/jsz, /connz, /varz). */
  get monitorUrl(): string {
    return `http://127.0.0.1:${this.#monitorPort}`
  }
  get running(): boolean {
    return this.#child !== undefined
  }
  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error('nats-server is not running')
    return this.#child.pid
  }
  /** What the server wrote last, for failed assertions. */
  get log(): string {
    return this.#log.join('')
  }

  /** Starts it again, after stop() or wipe(), on the ports and in the directory that it had before. */
  async start(): Promise<void> {
    if (this.#child !== undefined) throw new Error('nats-server is running already')
    const child = await this.#spawn()
    this.#child = child
    killedWithUs.add(child)
    child.once('exit', () => {
      killedWithUs.delete(child)
      if (this.#child === child) this.#child = undefined
    })
    try {
      await this.#ready(child)
    } catch (error) {
      throw new Error(`nats-server did not start in ${this.dir}\n${this.log}`, { cause: error })
    }
  }

  /** Ends it and waits until it is gone: SIGTERM by default, SIGKILL for a crash. Does nothing when it is not running. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child
    if (child === undefined) return
    const gone = once(child, 'exit', { signal: AbortSignal.timeout(STOP_DEADLINE_MS) })
    child.kill(signal)
    try {
      await gone
    } catch {
      child.kill('SIGKILL')
      throw new Error(`nats-server ${child.pid} did not stop within ${STOP_DEADLINE_MS} ms of ${signal}`)
    }
  }

  async restart(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.stop(signal)
    await this.start()
  }

  /** Stops it and deletes the JetStream directory: the next start() finds no stream and no bucket. */
  async wipe(): Promise<void> {
    await this.stop()
    await rm(join(this.dir, 'data/jetstream'), { recursive: true, force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    if (this.#removeDir) await rm(this.dir, { recursive: true, force: true })
  }

  /** Resolves when JetStream is up; in a cluster: up to date with the others. */
  async healthy(signal?: AbortSignal): Promise<void> {
    const options = signal === undefined ? {} : { signal }
    await until('JetStream is up', () => answersOk(`${this.monitorUrl}/healthz`), options)
  }

  async #spawn(): Promise<ChildProcess> {
    const server = await natsServerPath()
    // Its own as long as we live: a restart in the middle of a test must find them free.
    if (this.#port === 0) this.#port = await freePort()
    if (this.#monitorPort === 0) this.#monitorPort = await freePort()
    const ports = [String(this.#port), String(this.#monitorPort)] as const
    // The script replaces itself by the server, so its pid is the server's; NATS_SERVER spares it the search.
    const child =
      this.conf === 'roles'
        ? spawn(
            SCRIPT,
            [
              'run',
              this.dir,
              '--port',
              ports[0],
              '--http',
              ports[1],
              '--',
              ...nodeArguments(this.#node),
              ...this.#args,
            ],
            {
              env: { ...process.env, NATS_SERVER: server },
              stdio: ['ignore', 'pipe', 'pipe'],
            },
          )
        : spawn(server, [...openArguments(this.dir, ...ports), ...this.#args], {
            cwd: this.dir,
            stdio: ['ignore', 'pipe', 'pipe'],
          })
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => {
        this.#log.push(stripVTControlCharacters(String(chunk)))
        if (this.#log.length > LOG_LINES_KEPT) this.#log.shift()
      })
    await once(child, 'spawn')
    return child
  }

  async #ready(child: ChildProcess): Promise<void> {
    const failed = new AbortController()
    child.once('exit', (code) => failed.abort(new Error(`nats-server ended with ${code}`)))
    const { signal } = failed
    const ports = await until('nats-server has written its ports', () => readPorts(this.dir, child.pid), { signal })
    this.#port = ports.client
    this.#monitorPort = ports.monitor
    // One of a cluster is well only when the others are, too: that is for the cluster to wait for.
    if (this.#node === undefined) await this.healthy(signal)
    if (this.conf === 'roles') this.passwords = passwordsOf(await readFile(join(this.dir, 'nats.env'), 'utf8'))
  }
}

const openArguments = (dir: string, port: string, monitorPort: string): string[] => [
  ...['-a', '127.0.0.1', '-p', port, '-m', monitorPort],
  ...['-js', '-sd', join(dir, 'data/jetstream'), '--ports_file_dir', dir],
]

/** A client learns no address by itself, so that a test decides which servers it knows. */
const nodeArguments = (node: ClusterNode | undefined): string[] =>
  node === undefined
    ? []
    : [
        ...['--server_name', node.name, '--cluster_name', node.cluster, '--no_advertise'],
        ...['--cluster', `nats://127.0.0.1:${node.routePort}`],
        ...['--routes', node.routePorts.map((port) => `nats://127.0.0.1:${port}`).join(',')],
      ]

async function answersOk(url: string): Promise<boolean> {
  const response = await fetch(url)
  await response.arrayBuffer()
  return response.ok
}

/** The ports file that the server `pid` writes once it listens; undefined until then. */
async function readPorts(dir: string, pid: number | undefined): Promise<{ client: number; monitor: number }> {
  // The file is named after the program, whose name differs from machine to machine.
  const server = await natsServerPath()
  const file = join(dir, `${server.slice(server.lastIndexOf('/') + 1)}_${pid}.ports`)
  const { nats, monitoring } = JSON.parse(await readFile(file, 'utf8'))
  return { client: Number(new URL(nats[0]).port), monitor: Number(new URL(monitoring[0]).port) }
}

function passwordsOf(env: string): Record<NatsRole, string> {
  const password = (role: NatsRole): string =>
    new RegExp(`^NATS_${role.toUpperCase()}_PASSWORD=(.+)$`, 'm').exec(env)?.[1] ?? ''
  return {
    sys: password('sys'),
    mailsync: password('mailsync'),
    bridge: password('bridge'),
    service: password('service'),
    consumer: password('consumer'),
    ops: password('ops'),
  }
}
