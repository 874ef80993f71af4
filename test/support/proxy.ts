/**
 * A TCP proxy on loopback in front of one port, for cut links and lost answers: cut, mute one way, hold, drop a chunk.
 * Knows bytes only; refuses to know the protocol that they carry.
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { Transform } from 'node:stream'
import { reset } from './reset.ts'

/** `toServer`: what the client sends. `toClient`: what the server answers. */
export type Direction = 'toServer' | 'toClient'

/** A chunk to swallow once: the first for which `match` is true. */
type Drop = { match: (chunk: Buffer) => boolean; done: (chunk: Buffer) => void }
/** Held bytes beyond these stay with the sender. */
const HELD_BYTES = 2 ** 20

type Link = { client: Socket; server: Socket; toServer: Transform | null; lostBytes: boolean }

/** Starts a proxy to 127.0.0.1:targetPort on a free port. */
export async function startProxy(targetPort: number): Promise<TcpProxy> {
  const listener = createServer()
  const proxy = new TcpProxy(listener, targetPort)
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  return proxy
}

export class TcpProxy {
  readonly #listener: Server
  readonly #targetPort: number
  readonly #links = new Set<Link>()
  readonly #muted = new Set<Direction>()
  readonly #held = new Map<Direction, PromiseWithResolvers<void>>()
  readonly #traps = new Map<Direction, { match: (chunk: Buffer) => boolean; done: () => void }>()
  readonly #drops: Record<Direction, Drop[]> = { toServer: [], toClient: [] }
  #cut = false
  #swallowedBytes = 0

  constructor(listener: Server, targetPort: number) {
    this.#listener = listener
    this.#targetPort = targetPort
    listener.on('connection', (client) => this.#accept(client))
  }

  get port(): number {
    const address = this.#listener.address()
    if (address === null || typeof address === 'string') throw new Error('the proxy is closed')
    return address.port
  }
  /** Connections open now. */
  get connections(): number {
    return this.#links.size
  }

  /** Bytes that mute() and dropNext() have kept from arriving. */
  get swallowedBytes(): number {
    return this.#swallowedBytes
  }

  /** Resets every connection and every new one, until heal(). */
  cut(): void {
    this.#cut = true
    for (const link of this.#links) end(link)
  }

  /** Swallows all bytes of one direction without a word, on open and new connections, until heal(). */
  mute(direction: Direction): void {
    this.#muted.add(direction)
  }

  /** Ends cut() and mute(). Connections that lost bytes are reset: what they carry makes no sense any more. */
  heal(): void {
    this.#cut = false
    this.#muted.clear()
    for (const link of this.#links) if (link.lostBytes) end(link)
  }

  /**
   * Keeps the bytes of one direction back, in order and by back-pressure, until release(). What a client has sent arrives
   * then even when the client has given the connection up meanwhile, as it does on a slow network.
   */
  hold(direction: Direction): void {
    if (!this.#held.has(direction)) this.#held.set(direction, Promise.withResolvers())
  }

  /** As hold(), from the first chunk for which `match` is true. Resolves when that one is held. */
  holdFrom(direction: Direction, match: (chunk: Buffer) => boolean): Promise<void> {
    const trap = Promise.withResolvers<void>()
    this.#traps.set(direction, { match, done: trap.resolve })
    return trap.promise
  }

  release(): void {
    for (const held of this.#held.values()) held.resolve()
    this.#held.clear()
  }

  /**
   * Swallows the next chunk for which `match` is true; the connection lives on. Resolves with the chunk when that
   * happened. A chunk is what one read gave: with one request in flight, one answer.
   */
  dropNext(direction: Direction, match: (chunk: Buffer) => boolean): Promise<Buffer> {
    return new Promise((done) => this.#drops[direction].push({ match, done }))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    this.release()
    if (!this.#listener.listening) return
    this.#listener.close()
    await once(this.#listener, 'close')
  }

  #accept(client: Socket): void {
    if (this.#cut) {
      reset(client)
      return
    }
    const server = connect(this.#targetPort, '127.0.0.1')
    const link: Link = { client, server, toServer: null, lostBytes: false }
    this.#links.add(link)
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      // Which side failed, and how, is the test's own doing: both sides end together.
      const gone = (): void => (socket === client && this.#held.has('toServer') ? deliverLate(link) : end(link))
      socket.on('error', gone)
      socket.on('close', gone)
    }
    server.on('close', () => this.#links.delete(link))
    link.toServer = this.#gate('toServer', link)
    client.pipe(link.toServer).pipe(server)
    server.pipe(this.#gate('toClient', link)).pipe(client)
  }

  #gate(direction: Direction, link: Link): Transform {
    const pass = async (chunk: Buffer): Promise<Buffer | undefined> => {
      const trap = this.#traps.get(direction)
      if (trap?.match(chunk)) {
        this.#traps.delete(direction)
        this.hold(direction)
        trap.done()
      }
      await this.#held.get(direction)?.promise
      if (this.#muted.has(direction)) {
        link.lostBytes = true
        this.#swallowedBytes += chunk.length
        return undefined
      }
      const index = this.#drops[direction].findIndex((drop) => drop.match(chunk))
      if (index < 0) return chunk
      const [drop] = this.#drops[direction].splice(index, 1)
      this.#swallowedBytes += chunk.length
      drop?.done(chunk)
      return undefined
    }
    return new Transform({
      writableHighWaterMark: HELD_BYTES,
      transform(chunk: Buffer, _encoding, done) {
        pass(chunk).then((passed) => done(null, passed), done)
      },
    })
  }
}

/** The client is gone; what it sent is held. The server gets it, and the end of the connection, when it is released. */
function deliverLate({ server, toServer }: Link): void {
  server.unpipe()
  server.resume()
  toServer?.end()
}

function end(link: Link): void {
  for (const socket of [link.client, link.server]) if (!socket.destroyed) reset(socket)
}
