/** Ends a connection with a reset, as a crash of the peer does. */
import type { Socket } from 'node:net'

/**
 * A socket that is being shut down cannot be reset: Node 24 then forgets to close it, and the process never ends, at full
 * load. It is only destroyed.
 */
export function reset(socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}
