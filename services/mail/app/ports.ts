/** What the control plane needs, out of the parts that have it. */
import type { ControlPorts } from '../control/ports.ts'
import type { Checkpoints } from '../kv/checkpoint.ts'
import type { Supervisor } from '../owner/supervisor.ts'
import { sealCredential } from '../token/credential.ts'
import type { Seal } from '../token/seal.ts'
import type { Providers } from './providers.ts'

export type PortParts = { providers: Providers; seal: Seal; supervisor: Supervisor; checkpoints: Checkpoints }

export const controlPorts = ({ providers, seal, supervisor, checkpoints }: PortParts): ControlPorts => ({
  configured: (provider) => providers.clients[provider] !== undefined,
  identify: providers.identify,
  seal: (account, { accessToken, refreshToken, expiresAtS }) =>
    sealCredential(seal, account, { accessToken, refreshToken, expiryS: expiresAtS }),
  ownStatus: (userId) => supervisor.statuses(userId),
  ownerAddress: (userId) => supervisor.ownerAddress(userId),
  lastStatus: async (userId) => (await checkpoints.read(userId))?.record.accounts ?? [],
})
