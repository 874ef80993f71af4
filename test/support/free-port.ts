/**
 * Ports for programs that have to be told one, and that must find it free again after a restart.
 *
 * A port that the system gives out (`listen(0)`) can be given to anybody as soon as its program is down, and any
 * outgoing connection takes one from the same range. So ours lie below that range, and a neighbour of each is listened
 * on as long as this process lives: that is how test processes beside it see that the port is taken.
 */
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'

/** Linux gives out 32768 to 60999 by itself, macOS and Windows 49152 and above. */
const OURS = { first: 20_000, last: 32_767 }
const TRIES = 100

/** Different ports on loopback that are this process's alone until it ends. */
export async function freePorts(count: number, range = OURS): Promise<number[]> {
  const ports: number[] = []
  while (ports.length < count) ports.push(await freePort(range))
  return ports
}

/** @throws Error when none is found in `range` (an even first port, an odd last one). */
export async function freePort({ first, last } = OURS): Promise<number> {
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const port = first + 2 * randomInt((last + 1 - first) / 2)
    const claim = await listenOn(port + 1)
    if (claim === null) continue
    const probe = await listenOn(port)
    if (probe !== null) {
      claim.unref()
      await once(probe.close(), 'close')
      return port
    }
    await once(claim.close(), 'close')
  }
  throw new Error(`no free port in ${first} to ${last} after ${TRIES} tries`)
}

/** Null when somebody listens there. */
async function listenOn(port: number): Promise<Server | null> {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
    return server
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') return null
    throw error
  }
}
