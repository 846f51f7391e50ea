// SPDX-License-Identifier: Apache-2.0

// Command apiserver runs the Kubernetes API server and its store, etcd, in one process, which ends with it. Flags are those of kube-apiserver;
// ETCD_DIR and ETCD_URL say where etcd keeps its data and listens.
package main

import (
	"log"
	"net/url"
	"os"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	config := embed.NewConfig()
	config.Dir = os.Getenv("ETCD_DIR")
	client, _ := url.Parse(os.Getenv("ETCD_URL"))
	peer, _ := url.Parse("http://127.0.0.1:0")
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	config.InitialCluster = config.Name + "=" + peer.String()
	config.LogLevel = "error"
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		log.Fatal(err)
	}
	<-etcd.Server.ReadyNotify()
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
