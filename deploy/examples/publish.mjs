// Publishes an event to nextact from Node.js: npm install kafkajs@2.2.4 && node publish.mjs localhost:9092
import { randomUUID } from "node:crypto";
import { Kafka, Partitioners } from "kafkajs";

const brokers = (process.argv[2] ?? "localhost:9092").split(",");
const topic = process.env.NEXTACT_EVENTS_TOPIC ?? "shop.events";

// The default partitioner of KafkaJS 2 is that of Kafka's Java client (murmur2), which all publishers must use.
const producer = new Kafka({ clientId: "shop", brokers }).producer({
  createPartitioner: Partitioners.DefaultPartitioner,
  idempotent: true,
});

const event = {
  user_id: "ada", // the record key is the same
  type: "view",
  item_id: "shoe-7",
  event_id: randomUUID(), // so that an event that is published again counts once
  timestamp: Date.now(),
};

await producer.connect();
const [sent] = await producer.send({ topic, acks: -1, messages: [{ key: event.user_id, value: JSON.stringify(event) }] });
console.log(`${topic}/${sent.partition} offset ${sent.baseOffset}`);
await producer.disconnect();
