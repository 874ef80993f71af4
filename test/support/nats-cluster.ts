/**
 * Three or more real nats-servers with nats.conf as one cluster, looked at from outside as if it were one server: start,
 * stop, wipe. Its own are a node that is killed, and one that is killed again and again.
 */
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pass } from 'node:timers/promises'
import { freePorts } from './free-port.ts'
import { type NatsRole, NatsServer } from './nats-server.ts'

const CLUSTER = 'mail'

/** What a test sees of a server or of a cluster. */
export type Nats = AsyncDisposable &
  Pick<NatsServer, 'conf' | 'dir' | 'url' | 'port' | 'monitorUrl' | 'passwords' | 'log'> &
  Pick<NatsServer, 'start' | 'stop' | 'restart' | 'wipe'>

/** Starts a cluster and waits until each node has all that the others have. */
export async function startNatsCluster(size = 3): Promise<NatsCluster> {
  const dir = await mkdtemp(join(tmpdir(), 'mail-sync-cluster-'))
  const cluster = new NatsCluster(dir, await freePorts(size))
  try {
    await cluster.start()
    return cluster
  } catch (error) {
    await cluster[Symbol.asyncDispose]()
    throw error
  }
}

export class NatsCluster implements Nats {
  readonly conf = 'roles'
  /** Holds `nats.env`, which all nodes share, and a directory for each node. */
  readonly dir: string
  readonly nodes: readonly NatsServer[]
  #killing: { stop: AbortController; done: Promise<void> } | null = null

  constructor(dir: string, routePorts: readonly number[]) {
    this.dir = dir
    this.nodes = routePorts.map((routePort, i) => {
      const node = { name: `n${i + 1}`, cluster: CLUSTER, routePort, routePorts }
      return new NatsServer('roles', join(dir, node.name), false, node)
    })
  }

  /** All servers, with commas between them. */
  get url(): string {
    return this.nodes.map(({ url }) => url).join(',')
  }
  get port(): number {
    return this.#first.port
  }
  get monitorUrl(): string {
    return this.#first.monitorUrl
  }
  get passwords(): Readonly<Record<NatsRole, string>> {
    return this.#first.passwords
  }
  get log(): string {
    return this.nodes.map(({ log }, i) => `n${i + 1}:\n${log}`).join('\n')
  }

  async start(): Promise<void> {
    const [first, ...others] = this.nodes
    await first?.start()
    await cp(join(this.#first.dir, 'nats.env'), join(this.dir, 'nats.env'))
    for (const { dir } of others) {
      await mkdir(dir, { recursive: true })
      await cp(join(this.dir, 'nats.env'), join(dir, 'nats.env'))
    }
    await Promise.all(others.map((node) => node.start()))
    await this.healthy()
  }

  /** Resolves when every node has all that the others have. */
  async healthy(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.healthy()))
  }

  async stop(signal?: NodeJS.Signals): Promise<void> {
    await this.#endKilling()
    await Promise.all(this.nodes.map((node) => node.stop(signal)))
  }

  async restart(signal?: NodeJS.Signals): Promise<void> {
    await this.stop(signal)
    await this.start()
  }

  /** Stops it and deletes the JetStream directories of all nodes. */
  async wipe(): Promise<void> {
    await this.#endKilling()
    await Promise.all(this.nodes.map((node) => node.wipe()))
  }

  /**
   * From now on one node after the other dies by SIGKILL, one in each `everyMs`, and stays away for `downMs`. Nobody
   * waits for it to be up to date before the next one dies. It ends with `stop`, `wipe` and dispose.
   */
  keepKilling(everyMs: number, downMs: number, killed: (name: string) => void = () => undefined): void {
    if (this.#killing !== null) throw new Error('nodes are being killed already')
    const stop = new AbortController()
    this.#killing = { stop, done: this.#kill(everyMs, downMs, killed, stop.signal) }
    this.#killing.done.catch(() => undefined)
  }

  /** Ends the killing, with all nodes running. @throws what it failed of */
  async endKilling(): Promise<void> {
    await this.#endKilling()
    await this.healthy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#endKilling().catch(() => undefined)
    await Promise.all(this.nodes.map((node) => node[Symbol.asyncDispose]()))
    await rm(this.dir, { recursive: true, force: true })
  }

  get #first(): NatsServer {
    const [first] = this.nodes
    if (first === undefined) throw new Error('a cluster has nodes')
    return first
  }

  async #kill(everyMs: number, downMs: number, killed: (name: string) => void, signal: AbortSignal): Promise<void> {
    for (let round = 0; !signal.aborted; round++) {
      const index = round % this.nodes.length
      const node = this.nodes[index]
      await node?.stop('SIGKILL')
      killed(`n${index + 1}`)
      await pass(downMs, undefined, { signal }).catch(() => undefined)
      await node?.start()
      await pass(everyMs - downMs, undefined, { signal }).catch(() => undefined)
    }
  }

  async #endKilling(): Promise<void> {
    const killing = this.#killing
    this.#killing = null
    killing?.stop.abort()
    await killing?.done
  }
}
