/** What the control plane needs, out of the parts that have it. Before the engine is there this instance owns nobody. */
import type { ControlPorts } from '../control/ports.ts'
import { sealCredential } from '../token/credential.ts'
import type { Engine } from './engine.ts'
import type { Late } from './late.ts'
import type { Base } from './ownership.ts'

export type PortParts = Pick<Base, 'clients' | 'seal' | 'checkpoints' | 'leases' | 'address'>

export const controlPorts = (parts: PortParts, engine: Late<Engine>): ControlPorts => ({
  configured: (provider) => parts.clients[provider] !== undefined,
  identify: async (...of) => (await engine.arrived).identify(...of),
  seal: (account, { accessToken, refreshToken, expiresAtS }) =>
    sealCredential(parts.seal, account, { accessToken, refreshToken, expiryS: expiresAtS }),
  ownStatus: async (userId) => (await engine.now?.supervisor.statuses(userId)) ?? null,
  inspect: async (...of) => (await engine.now?.inspect(...of)) ?? null,
  otherOwner: (userId) => {
    const owner = parts.leases.living(parts.leases.ownerOf(userId))
    return owner === null || owner.address === parts.address ? null : owner.address
  },
  lastStatus: async (userId) => (await parts.checkpoints.read(userId))?.record.accounts ?? [],
})
