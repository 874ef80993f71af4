/**
 * Sixty addresses that lead to a stranger on this machine, or try to, each in another disguise; and the stranger, who counts
 * every connection and keeps every byte. Nothing here leaves the machine: no name but localhost is looked up.
 */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'

/** Ports of the provider and of the stranger. */
export type Ports = { provider: number; evil: number }

/** Each prints as one line of a failed test. */
export const hostileUrls = ({ provider, evil }: Ports): string[] => {
  const good = `127.0.0.1:${provider}`
  const bad = `127.0.0.1:${evil}`
  const path = '/v1.0/me/messages'
  const hosts = [
    ...[
      '127.0.0.1',
      'localhost',
      'LOCALHOST',
      'localhost.',
      '127.0.0.1.',
      '127.1',
      '127.0.1',
      '2130706433',
      '0x7f000001',
    ],
    ...['017700000001', '0177.0.0.1', '0x7f.0.0.1', '127.000.000.001', '0', '0.0.0.0', '127.0.0.2', '[::1]'],
    ...[
      '[0:0:0:0:0:0:0:1]',
      '[::ffff:127.0.0.1]',
      '[::ffff:7f00:1]',
      '[::]',
      '①②⑦.⓪.⓪.①',
      '127。0。0。1',
      '127.0.0.%31',
    ],
  ]
  return [
    ...hosts.map((host) => `http://${host}:${evil}${path}`),
    `https://${bad}${path}`,
    `https://localhost:${evil}${path}`,
    `http://user:secret@${bad}${path}`,
    `http://${good}@${bad}${path}`,
    `http://127.0.0.1%3A${provider}@${bad}${path}`,
    `http://a@b@${bad}${path}`,
    `http://${bad}#@${good}${path}`,
    `http://${bad}/#${good}${path}`,
    `http://${bad}?@${good}${path}`,
    `http://${bad}\\@${good}${path}`,
    `http://${good}\\@${bad}${path}`,
    `http:\\\\${bad}\\v1.0\\me`,
    `http:/${bad}${path}`,
    `http:${bad}${path}`,
    `http:////${bad}${path}`,
    `//${bad}${path}`,
    `\\\\${bad}\\v1.0`,
    `HTTP://${bad}${path}`,
    ` http://${bad}${path}`,
    `ht\ntp://${bad}${path}`,
    `http://127.0.0.1\t:${evil}${path}`,
    `http://${bad}\u0000.${good}${path}`,
    `http://${good}${path}\r\nHost: ${bad}\r\n\r\nGET ${path} HTTP/1.1`,
    `http://${bad}/http://${good}${path}`,
    `http://${bad}/v1.0/../v1.0/me`,
    `http://${bad}/v1.0/%2e%2e/v1.0/me`,
    `http://127.0.0.1:0${evil}${path}`,
    `http://${good}/v1.0/../away?to=http://${bad}${path}`,
    `http://${good}/v1.0/%2E%2e/away?to=http://${bad}${path}`,
    `http://${good}/away/http://${bad}${path}`,
    `ws://${bad}${path}`,
    `ftp://${bad}${path}`,
    `gopher://${bad}/_GET%20/`,
    `file://${bad}/v1.0/me`,
    `blob:http://${bad}/v1.0/me`,
    `javascript://${bad}/%0Afetch('http://${bad}')`,
  ]
}

export type Stranger = AsyncDisposable & {
  port: number
  /** Connections so far, whatever came over them. */
  visits: number
  /** Everything that visitors have said. */
  heard(): string
}

/** Waits on 127.0.0.1 and, where the machine has it, on ::1, and answers whoever speaks. */
export async function startStranger(): Promise<Stranger> {
  const heard: string[] = []
  const sockets = new Set<Socket>()
  const welcome = (socket: Socket): void => {
    stranger.visits++
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
    socket.on('data', (bytes) => {
      heard.push(bytes.toString('latin1'))
      socket.end('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{"value":[]}')
    })
  }
  const server = createServer(welcome).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const servers = [server, ...(await sixth(port, welcome))]
  const stranger: Stranger = {
    port,
    visits: 0,
    heard: () => heard.join(''),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      for (const each of servers) await new Promise((resolve) => each.close(resolve))
    },
  }
  return stranger
}

/** The same port of ::1; none where there is no IPv6. */
async function sixth(port: number, welcome: (socket: Socket) => void): Promise<Server[]> {
  const server = createServer(welcome)
  const listening = once(server, 'listening').then(() => true)
  const failed = once(server, 'error').then(() => false)
  server.listen(port, '::1')
  return (await Promise.race([listening, failed])) ? [server] : []
}
