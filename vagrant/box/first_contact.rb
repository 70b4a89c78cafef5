# How a machine made from our box and the person who starts it come to trust each other.
#
# The box holds no key. The machine is told this project's public key on the way that a PC is
# told its serial number: as an SMBIOS string, which systemd takes for a credential. It makes
# its host keys at its first boot and shows them on its serial port, which libvirt writes into
# a file here. So the first connection is checked like any other: neither key was ever asked
# of the network.

require "base64"
require "fileutils"
require "vagrant"

module BeowulfBox
  USER = "admin"
  # A whole line: the last one may still be on its way.
  SHOWN = /^lab-host-key: (ssh-\S+|ecdsa-\S+) ([A-Za-z0-9+\/=]+)[^\n]*\n/
  # An ed25519 and an ECDSA key: the image makes no others.
  KINDS = 2
  # Plain emulation on a busy computer: 40 s were seen on an idle one.
  LONGEST_FIRST_BOOT_S = 900

  class NoHostKeys < Vagrant::Errors::VagrantError
    attr_reader :error_message

    def initialize(name, console)
      @error_message = "#{name}: no host keys on its console within #{LONGEST_FIRST_BOOT_S} s; " \
                       "see #{console}, then type: vagrant destroy #{name}"
      super()
    end
  end

  # The files by which one machine is known on this computer.
  class Acquaintance
    attr_reader :name

    # ``addresses`` are those of all machines, by name.
    def initialize(folder, name, addresses)
      @folder = folder
      @name = name
      @addresses = addresses
    end

    def identity = File.join(@folder, "identity")
    def console = File.join(@folder, "#{name}.console")
    def known_hosts = File.join(@folder, "#{name}.known_hosts")
    def ssh_config = File.join(@folder, "#{name}.ssh_config")

    def prepared?
      File.file?(ssh_config) && File.file?(identity)
    end

    # Set where Vagrant finds the keys; it accepts files that exist, no others.
    def configure(ssh)
      ssh.private_key_path = [identity]
      ssh.config = ssh_config
    end

    # Return the strings that the machine is to find in its SMBIOS: its name, and as files the
    # key that may come in and the names of all machines. systemd takes them for credentials.
    def smbios
      lines = [
        "d /home/#{USER}/.ssh 0700 #{USER} #{USER} -",
        file("/home/#{USER}/.ssh/authorized_keys", "0600 #{USER} #{USER}", File.read("#{identity}.pub")),
        file("/etc/hostname", "0644 root root", "#{name}\n"),
        file("/etc/hosts", "0644 root root", hosts),
      ]
      ["system.hostname=#{name}", "tmpfiles.extra=#{Base64.strict_encode64(lines.join("\n") + "\n")}"]
        .zip(["", ".binary"]).map { |text, kind| "type=11,value=io.systemd.credential#{kind}:#{text}" }
    end

    # Make the project's key, unless there is one; of several at once, one makes it.
    def make_identity
      FileUtils.mkdir_p(@folder, mode: 0o700)
      File.open(File.join(@folder, "lock"), File::RDWR | File::CREAT, 0o600) do |lock|
        lock.flock(File::LOCK_EX)
        next if File.file?("#{identity}.pub")

        FileUtils.rm_f(identity)
        made = system("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "beowulf", "-f", identity)
        raise "ssh-keygen could not make #{identity}" unless made
      end
    end

    # Forget a machine of this name that is no more.
    def forget
      FileUtils.rm_f([known_hosts, console, ssh_config])
    end

    # Be ready to meet a new machine.
    def expect
      forget
      # Made here, so that it is ours to read, whoever writes to it.
      File.open(console, File::WRONLY | File::CREAT | File::EXCL, 0o600) {}
      # Vagrant's own connections look up the global file only, ssh both.
      File.write(ssh_config, <<~TEXT)
        Host *
          HostKeyAlias #{name}
          GlobalKnownHostsFile "#{known_hosts}"
          UserKnownHostsFile none
          StrictHostKeyChecking yes
      TEXT
    end

    # Say whether the machine's host keys are known; learn them if they are all on its console.
    def met?
      return true if File.file?(known_hosts)

      keys = File.read(console, encoding: "BINARY").scan(SHOWN).uniq
      return false if keys.size < KINDS

      File.write("#{known_hosts}.new", keys.map { |kind, key| "#{name} #{kind} #{key}\n" }.join)
      File.rename("#{known_hosts}.new", known_hosts)
      true
    end

    private

    def hosts
      "127.0.0.1 localhost\n" + @addresses.map { |name, address| "#{address} #{name}\n" }.join
    end

    # Return a line for systemd-tmpfiles: the file is made if there is none, and left alone then.
    def file(path, mode_and_owner, text)
      "f~ #{path} #{mode_and_owner} - #{Base64.strict_encode64(text)}"
    end
  end

  # Say in the Vagrantfile that a machine is made from our box. Nothing is written yet: Vagrant
  # reads this even where the machine will be another provider's.
  def self.introduce(libvirt, override, folder, name, addresses)
    machine = Acquaintance.new(folder, name, addresses)
    acquaintances[name] = machine
    libvirt.serial(type: "file", source: { path: machine.console })
    override.ssh.username = USER
    override.ssh.insert_key = false
    override.ssh.verify_host_key = :always
    machine.configure(override.ssh) if machine.prepared?
  end

  def self.acquaintances
    @acquaintances ||= {}
  end

  # A step of Vagrant's that concerns our machines only.
  class Step
    def initialize(app, _env)
      @app = app
    end

    def call(env)
      machine = BeowulfBox.acquaintances[env[:machine].name.to_s]
      work(machine, env) if machine
      @app.call(env)
    end
  end

  class Prepare < Step
    def work(machine, env)
      machine.make_identity
      machine.expect
      machine.configure(env[:machine].config.ssh)
      words = machine.smbios.flat_map { |text| ["-smbios", text] }
      words.each { |word| env[:machine].provider_config.qemuargs(value: word) }
    end
  end

  class Meet < Step
    def work(machine, env)
      env[:ui].info("Waiting for the host keys on the machine's console...") unless machine.met?
      deadline_s = now_s + LONGEST_FIRST_BOOT_S
      until machine.met?
        return if env[:interrupted]
        raise NoHostKeys.new(machine.name, machine.console) if now_s > deadline_s

        sleep(0.5)
      end
    end

    def now_s
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end

  class Forget < Step
    def work(machine, _env)
      machine.forget
    end
  end

  class Plugin < Vagrant.plugin("2")
    name "beowulf box"
    description "Verified first connections to machines made from beowulf's box"

    action_hook(:beowulf_first_contact) do |hook|
      next unless defined?(VagrantPlugins::ProviderLibvirt)

      hook.before(VagrantPlugins::ProviderLibvirt::Action::CreateDomain, Prepare)
      hook.before(VagrantPlugins::ProviderLibvirt::Action::WaitTillUp, Meet)
      hook.after(VagrantPlugins::ProviderLibvirt::Action::DestroyDomain, Forget)
    end
  end
end
