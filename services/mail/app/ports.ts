/** What the control plane needs, out of the parts that have it. */
import type { ControlPorts } from '../control/ports.ts'
import type { Checkpoints } from '../kv/checkpoint.ts'
import { sealCredential } from '../token/credential.ts'
import type { Seal } from '../token/seal.ts'
import { type InspectParts, inspector } from './inspect.ts'
import type { Providers } from './providers.ts'

export type PortParts = InspectParts & { providers: Providers; seal: Seal; checkpoints: Checkpoints }

export const controlPorts = (parts: PortParts): ControlPorts => ({
  configured: (provider) => parts.providers.clients[provider] !== undefined,
  identify: parts.providers.identify,
  seal: (account, { accessToken, refreshToken, expiresAtS }) =>
    sealCredential(parts.seal, account, { accessToken, refreshToken, expiryS: expiresAtS }),
  ownStatus: (userId) => parts.supervisor.statuses(userId),
  inspect: inspector(parts),
  otherOwner: (userId) => {
    const address = parts.supervisor.ownerAddress(userId)
    return address === parts.supervisor.session.address ? null : address
  },
  lastStatus: async (userId) => (await parts.checkpoints.read(userId))?.record.accounts ?? [],
})
