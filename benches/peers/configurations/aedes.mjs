// aedes with its defaults: in memory.
import { createServer } from 'node:net'
import { Aedes } from 'aedes'

const broker = await Aedes.createBroker()
createServer(broker.handle).listen(PORT, '127.0.0.1')
