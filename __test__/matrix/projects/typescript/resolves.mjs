// What each way of resolving a module makes of the package's exports, by the tool that knows them all.
import { readFileSync } from 'node:fs'
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core'

const { problems, entrypoints } = await checkPackage(createPackageFromTarballData(readFileSync(process.argv[2])))
console.log(JSON.stringify({ entrypoints: Object.keys(entrypoints), problems }))
