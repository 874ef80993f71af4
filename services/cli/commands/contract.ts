/** mailctl contract: prints the contract over NATS as AsyncAPI. The bridge serves its OpenAPI itself. */
import type { Command } from 'commander'
import packageJson from '../../../package.json' with { type: 'json' }
import { asyncApi } from '../asyncapi.ts'
import type { Cli, Start } from '../cli.ts'

export function addContract(program: Command, start: Start): void {
  program
    .command('contract')
    .description('print the contract over NATS as AsyncAPI 3 (HTTP: /openapi.json of the bridge)')
    .action(
      start([], async ({ out }: Cli) => {
        const document = asyncApi(packageJson.version)
        out.data(document)
        out.line(JSON.stringify(document, null, 2))
      }),
    )
}
