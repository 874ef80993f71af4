/** A NATS client that sends header blocks as they are, also such as no client library would. It knows requests only. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export type RawReply = { headers: string; data: Buffer }

const CRLF = '\r\n'

export class RawNats implements AsyncDisposable {
  readonly #socket: Socket
  readonly #waiting = new Map<string, PromiseWithResolvers<RawReply>>()
  #buffer: Buffer = Buffer.alloc(0)
  #sent = 0

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (bytes) => {
      this.#buffer = Buffer.concat([this.#buffer, bytes])
      while (this.#readOne());
    })
    // What has gone wrong shows in the requests that wait.
    socket.on('error', () => undefined)
    socket.on('close', () => this.#fail(new Error('the server has closed the connection')))
  }

  /** Replies are heard only on a server without users. */
  static async connect(url: string, login: { user?: string; pass?: string } = {}): Promise<RawNats> {
    const { hostname, port } = new URL(url)
    const socket = connect(Number(port), hostname)
    await once(socket, 'connect')
    const raw = new RawNats(socket)
    const options = {
      verbose: false,
      pedantic: false,
      lang: 'raw',
      version: '0',
      protocol: 1,
      headers: true,
      no_responders: true,
      ...login,
    }
    socket.write(`CONNECT ${JSON.stringify(options)}${CRLF}SUB _INBOX.raw.* 1${CRLF}`)
    return raw
  }

  /** @param block null: a request without headers */
  request(subject: string, block: Buffer | null, payload: Uint8Array): Promise<RawReply> {
    const id = String(this.#sent++)
    const waiting = Promise.withResolvers<RawReply>()
    this.#waiting.set(id, waiting)
    this.publish(subject, block, payload, `_INBOX.raw.${id}`)
    return waiting.promise
  }

  publish(subject: string, block: Buffer | null, payload: Uint8Array, reply = ''): void {
    const sizes = block === null ? `${payload.length}` : `${block.length} ${block.length + payload.length}`
    const head = `${block === null ? 'PUB' : 'HPUB'} ${subject} ${reply} ${sizes}${CRLF}`
    this.#socket.write(Buffer.concat([Buffer.from(head), block ?? Buffer.alloc(0), payload, Buffer.from(CRLF)]))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#socket.closed) return
    const closed = once(this.#socket, 'close')
    this.#socket.destroy()
    await closed
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }

  /** False when the next message has not come whole. */
  #readOne(): boolean {
    const end = this.#buffer.indexOf(CRLF)
    if (end < 0) return false
    const [verb = '', ...words] = this.#buffer.subarray(0, end).toString().split(' ')
    const start = end + CRLF.length
    if (verb !== 'MSG' && verb !== 'HMSG') {
      if (verb === 'PING') this.#socket.write(`PONG${CRLF}`)
      if (verb === '-ERR') this.#fail(new Error(words.join(' ')))
      this.#buffer = this.#buffer.subarray(start)
      return true
    }
    const total = Number(words.at(-1))
    const headBytes = verb === 'HMSG' ? Number(words.at(-2)) : 0
    if (this.#buffer.length < start + total + CRLF.length) return false
    const body = this.#buffer.subarray(start, start + total)
    this.#buffer = this.#buffer.subarray(start + total + CRLF.length)
    const id = words[0]?.split('.').at(-1) ?? ''
    this.#waiting
      .get(id)
      ?.resolve({ headers: body.subarray(0, headBytes).toString(), data: Buffer.from(body.subarray(headBytes)) })
    this.#waiting.delete(id)
    return true
  }
}
