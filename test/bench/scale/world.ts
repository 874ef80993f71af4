/**
 * What the cells of scale stand on: a nats-server as it comes (a write reaches the disk when the system pleases), the
 * simulator in this process, and instances as processes whose processor time, memory and files are read from outside.
 */
import { readdirSync, readFileSync } from 'node:fs'
import type { NatsConnection } from '#shared/nats.ts'
import type { SimulatorOptions } from '../../simulator/simulator.ts'
import { freePort } from '../../support/free-port.ts'
import type { InstanceProcess } from '../../support/instance.ts'
import { type NatsServer, startNatsServer } from '../../support/nats-server.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { metricsOf, type ReadMetric } from '../kit/metrics.ts'

const INTERVAL_MS = '30000'
/** What the service is told unless a cell says otherwise: its own defaults in place of the short times of tests. */
const DEFAULTS = { MAIL_LEASE_SILENCE_MS: '6000' }
/** Mails that are all events: they are counted. */
export const ALL_EVENTS = { sent: 0, draft: 0, spam: 0, trash: 0, chat: 0 }

export type WorldOptions = { env?: Record<string, string>; simulator?: SimulatorOptions }

export class World implements AsyncDisposable {
  readonly box: Sandbox
  readonly server: NatsServer
  readonly nc: NatsConnection
  readonly #stack: AsyncDisposableStack

  private constructor(box: Sandbox, server: NatsServer, nc: NatsConnection, stack: AsyncDisposableStack) {
    this.box = box
    this.server = server
    this.nc = nc
    this.#stack = stack
  }

  static async start({ env = {}, simulator = {} }: WorldOptions = {}): Promise<World> {
    await using stack = new AsyncDisposableStack()
    const server = stack.use(await startNatsServer({ conf: 'open' }))
    const { MAIL_SYNC_INTERVAL_MS = INTERVAL_MS } = env
    // However quiet a mailbox is, it is polled at each interval.
    const steady = { MAIL_SYNC_INTERVAL_MS, MAIL_SYNC_INTERVAL_MAX_MS: MAIL_SYNC_INTERVAL_MS }
    const box = stack.use(await sandbox({ nats: server, simulator, env: { ...DEFAULTS, ...env, ...steady } }))
    const nc = await box.connection('service')
    return new World(box, server, nc, stack.move())
  }

  async spawn(name: string, env: Record<string, string> = {}): Promise<Instance> {
    const port = await freePort()
    const started = await this.box.spawn(name, { ...env, MAIL_METRICS_PORT: String(port) })
    return new Instance(started, port)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]()
  }
}

export class Instance {
  readonly process: InstanceProcess
  readonly #port: number

  constructor(started: InstanceProcess, port: number) {
    this.process = started
    this.#port = port
  }

  get pid(): number {
    return this.process.pid
  }
  /** Memory that the process holds now. */
  get rssBytes(): number {
    const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.pid}/status`, 'latin1'))?.[1]
    return Number(kilobytes) * 1024
  }
  get openFiles(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length
  }

  /** A look at /metrics. Looking at thousands of accounts is work for the instance. */
  async metrics(): Promise<ReadMetric> {
    return metricsOf(await (await fetch(`http://127.0.0.1:${this.#port}/metrics`)).text())
  }
}
